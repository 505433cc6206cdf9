"""The canonical layout: what a list line may name, and what the ids of a dataset mean."""

import shutil
from pathlib import Path

import pytest
import tomli_w

from faceparse.core.datasets.layout import (
    DatasetFolder,
    ListLine,
    fingerprint,
    folder_label_set,
    resolve_label_set,
    write_label_set,
)
from faceparse.core.errors import DatasetError, FaceparseError, SettingsError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.settings import DataSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two photographs, whose files hold nothing: nobody reads them here."""
    root = tmp_path / "dataset"
    for name in ("images/a.jpg", "labels/a.png", "images/b.jpg", "labels/b.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    write_list(root, "images/a.jpg labels/a.png\nimages/b.jpg labels/b.png\n")
    return root


def write_list(root: Path, text: str, split: str = "train") -> Path:
    path = root / f"{split}_list.txt"
    path.write_text(text)
    return path


def refusal(root: Path, split: str = "train") -> str:
    """The one line with which a list is refused."""
    with pytest.raises(DatasetError) as caught:
        DatasetFolder(root).samples(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Lists.


def test_a_line_names_image_and_label_and_the_rest_follows(root: Path) -> None:
    sample = DatasetFolder(root).samples("train")[0]
    assert sample.id == "a"
    assert sample.image == root / "images" / "a.jpg"
    assert sample.label == root / "labels" / "a.png"
    assert sample.edge == root / "edges" / "a.png"
    assert sample.label_raw == root / "labels_raw" / "a.png"
    assert sample.project == root / "project" / "a.npy"


@pytest.mark.parametrize(
    ("label", "name"), [("labels/a.png", "a"), ("labels/x/a.b.png", "x/a.b"), ("a.png", "a"), ("other/a.png", "a")]
)
def test_an_id_is_the_labels_path_below_its_folder(root: Path, label: str, name: str) -> None:
    sample = DatasetFolder(root).parse("train", ListLine(1, f"images/a.jpg {label}"))
    assert sample.id == name
    assert sample.edge == root / "edges" / f"{name}.png"


def test_samples_come_in_the_order_of_the_list(root: Path) -> None:
    write_list(root, "images/b.jpg labels/b.png\nimages/a.jpg labels/a.png\n")
    assert [sample.id for sample in DatasetFolder(root).samples("train")] == ["b", "a"]


def test_blanks_and_empty_lines_do_not_matter(root: Path) -> None:
    write_list(root, "\n  images/a.jpg\t labels/a.png  \r\n\nimages/b.jpg labels/b.png")
    assert [sample.id for sample in DatasetFolder(root).samples("train")] == ["a", "b"]
    assert [line.number for line in DatasetFolder(root).lines("train")] == [1, 2, 3, 4]
    assert [line.text == "" for line in DatasetFolder(root).lines("train")] == [True, False, True, False]


def test_a_byte_order_mark_is_no_part_of_the_first_name(root: Path) -> None:
    (root / "train_list.txt").write_bytes(b"\xef\xbb\xbfimages/a.jpg labels/a.png\r\n")
    assert [sample.id for sample in DatasetFolder(root).samples("train")] == ["a"]


@pytest.mark.parametrize("line", ["images/a.jpg", "images/a.jpg labels/a.png 1", "images/my face.jpg labels/a.png"])
def test_a_line_without_two_names_is_refused_with_its_number(root: Path, line: str) -> None:
    path = write_list(root, f"images/a.jpg labels/a.png\n\n{line}\n")
    blanks = "; names in a list have no blanks" if len(line.split()) > 2 else ""
    assert refusal(root) == f"{path}:3: {line!r} is not 'images/<id>.jpg labels/<id>.png'{blanks}"


def test_backslashes_are_named(root: Path) -> None:
    path = write_list(root, "images\\a.jpg labels\\a.png\r\n")
    expected = f"{path}:1: {'images' + chr(92) + 'a.jpg labels' + chr(92) + 'a.png'!r} has backslashes; "
    assert refusal(root) == f"{expected}write / between folders and names"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_windows_are_read(root: Path, encoding: str) -> None:
    (root / "train_list.txt").write_bytes("images/a.jpg labels/a.png\r\n\r\n".encode(encoding))
    assert [sample.id for sample in DatasetFolder(root).samples("train")] == ["a"]


@pytest.mark.parametrize("gone", ["images/b.jpg", "labels/b.png"])
def test_a_missing_file_is_named_with_its_line(root: Path, gone: str) -> None:
    (root / gone).unlink()
    path = root / "train_list.txt"
    assert refusal(root) == f"{path}:2: {root / gone} is missing; fix the list or add the file"


def test_a_folder_in_place_of_a_file_is_missing(root: Path) -> None:
    (root / "images" / "a.jpg").unlink()
    (root / "images" / "a.jpg").mkdir()
    assert "a.jpg is missing" in refusal(root)


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_an_empty_list_is_refused(root: Path, text: str) -> None:
    path = write_list(root, text)
    assert refusal(root) == f"{path}: the list is empty"


def test_a_missing_list_is_named(root: Path) -> None:
    assert refusal(root, "val") == (
        f"{root / 'val_list.txt'}: no such list; lines are 'images/<id>.jpg labels/<id>.png'"
    )


def test_a_missing_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    message = refusal(tmp_path / "gone")
    assert message == (
        f"{tmp_path / 'gone'}: no such dataset folder; make it with 'faceparse prepare' or give --data-dir"
    )


def test_a_list_that_is_not_text_is_refused(root: Path) -> None:
    (root / "train_list.txt").write_bytes(b"images/\xff.jpg labels/a.png\n")
    assert refusal(root) == f"{root / 'train_list.txt'}: not a text file in UTF-8"


# Outside the dataset.


@pytest.mark.parametrize(
    "line",
    [
        "../secret.jpg labels/a.png",
        "images/a.jpg labels/../../secret.jpg",
        "images/../images/a.jpg labels/a.png",
        "/etc/passwd labels/a.png",
    ],
)
def test_names_that_lead_outside_are_refused_with_their_line(root: Path, line: str) -> None:
    (root.parent / "secret.jpg").write_bytes(b"secret")
    path = write_list(root, f"images/a.jpg labels/a.png\n{line}\n")
    bad = next(field for field in line.split() if ".." in field or field.startswith("/"))
    assert refusal(root) == f"{path}:2: {bad!r} lies outside the dataset folder; copy the file into it"


def test_an_absolute_name_inside_is_refused_too(root: Path) -> None:
    write_list(root, f"{root}/images/a.jpg labels/a.png\n")
    assert "lies outside the dataset folder" in refusal(root)


def test_links_are_followed_wherever_they_lead(root: Path) -> None:
    """Photographs may fill another disk."""
    outside = root.parent / "elsewhere"
    (root / "images").rename(outside)
    (root / "images").symlink_to(outside)
    (root / "labels" / "a.png").rename(root.parent / "one.png")
    (root / "labels" / "a.png").symlink_to(root.parent / "one.png")
    assert [sample.id for sample in DatasetFolder(root).samples("train")] == ["a", "b"]


def test_a_broken_link_is_named_as_one(root: Path) -> None:
    (root / "images").rename(root.parent / "moved")
    (root / "images").symlink_to("../gone")
    path = root / "train_list.txt"
    assert refusal(root) == f"{path}:1: {root / 'images'} is a broken link to ../gone; fix the link"


def test_a_link_to_a_file_inside_is_fine(root: Path) -> None:
    (root / "images" / "link.jpg").symlink_to("a.jpg")
    write_list(root, "images/link.jpg labels/a.png\n")
    assert DatasetFolder(root).samples("train")[0].image == root / "images" / "link.jpg"


def test_a_dataset_reached_through_a_link_is_fine(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    assert len(DatasetFolder(link).samples("train")) == 2


# Edges.


# What the ids mean.


def resolved(root: Path, **settings: object) -> str:
    return resolve_label_set(DataSettings.model_validate({"root": root, **settings})).name


def test_without_any_word_the_papers_set_of_that_size_is_meant(root: Path) -> None:
    assert resolved(root) == "helen"
    assert resolved(root, num_classes=11) == "helen"
    assert resolved(root, num_classes=19) == "celebamask-hq"


def test_label_names_decide_over_the_count(root: Path) -> None:
    (root / "label_names.txt").write_text("\n".join(get_label_set("celebamask-hq").names) + "\n")
    assert resolved(root) == "celebamask-hq"


def test_the_datasets_own_file_decides_over_its_names(root: Path) -> None:
    write_label_set(root, get_label_set("fasseg"))
    (root / "label_names.txt").write_text("\n".join(get_label_set("celebamask-hq").names))
    assert resolved(root) == "fasseg"


def test_the_setting_decides_over_all(root: Path) -> None:
    write_label_set(root, get_label_set("fasseg"))
    assert resolved(root, label_set="lapa") == "lapa"


def test_the_setting_may_be_a_file(root: Path, tmp_path: Path) -> None:
    own = get_label_set("fasseg").model_copy(update={"name": "own"})
    (tmp_path / "own.toml").write_text(tomli_w.dumps(own.to_toml()))
    assert resolved(root, label_set=str(tmp_path / "own.toml")) == "own"


@pytest.mark.parametrize(
    "text",
    [
        "bg\nface\nlb\nrb\nle\nre\nnose\nulip\nimouth\nllip\nhair\n",
        "\ufeffbackground\r\nskin\r\nleft_brow\r\nright_brow\r\nleft_eye\r\nright_eye\r\nnose\r\nupper_lip\r\n"
        "inner_mouth\r\nlower_lip\r\nhair",
        "".join(f"{i} {name}\n\n" for i, name in enumerate(get_label_set("helen").names)),
    ],
)
def test_label_names_are_understood_as_other_projects_write_them(root: Path, text: str) -> None:
    (root / "label_names.txt").write_text(text, "utf-8")
    assert folder_label_set(root) == get_label_set("helen")


def test_names_of_no_built_in_set_ask_for_a_description(root: Path) -> None:
    (root / "label_names.txt").write_text("a\nb\nc\n")
    with pytest.raises(DatasetError) as caught:
        resolved(root)
    assert str(caught.value) == (
        f"{root / 'label_names.txt'}: these 3 class names are no built-in set; "
        "describe them in a TOML file of --label-set"
    )


def test_a_folder_that_says_nothing_is_told_from_one_that_does(root: Path) -> None:
    assert folder_label_set(root) is None
    write_label_set(root, get_label_set("lapa"))
    assert folder_label_set(root) == get_label_set("lapa")
    assert (root / "label_names.txt").read_text().split() == list(get_label_set("lapa").names)


def test_a_class_count_that_disagrees_is_refused(root: Path) -> None:
    write_label_set(root, get_label_set("fasseg"))
    assert resolved(root, num_classes=6) == "fasseg"
    with pytest.raises(SettingsError) as caught:
        resolved(root, num_classes=11)
    assert str(caught.value) == (
        f"data.num_classes = 11, but label set 'fasseg' of {root} has 6 classes; "
        "drop --num-classes or name the label set with --label-set"
    )


def test_a_broken_description_is_refused_in_one_line(root: Path) -> None:
    (root / "label_set.toml").write_text("name = 'x'\nside = 'none'\n[classes]\na = '#000000'\n")
    with pytest.raises(FaceparseError) as caught:
        resolved(root)
    assert str(caught.value) == f"{root / 'label_set.toml'}: a label set has 2 to 255 classes, not 1"


# Fingerprints.


def test_a_fingerprint_has_one_hash_for_each_split_there_is(faces: Path, root: Path) -> None:
    assert set(fingerprint(faces)) == {"train", "val", "test"}
    assert len(set(fingerprint(faces).values())) == 3
    assert set(fingerprint(faces, ["val"])) == {"val"}
    assert set(fingerprint(root)) == {"train"}


def test_moving_a_dataset_does_not_change_its_fingerprint(own_faces: Path, tmp_path: Path) -> None:
    before = fingerprint(own_faces)
    moved = Path(shutil.move(own_faces, tmp_path / "else" / "where"))
    assert fingerprint(moved) == before


def test_edges_and_times_do_not_change_a_fingerprint(own_faces: Path) -> None:
    before = fingerprint(own_faces)
    shutil.rmtree(own_faces / "edges")
    for path in (own_faces / "labels").iterdir():
        path.touch()
    assert fingerprint(own_faces) == before


def test_one_pixel_of_a_label_changes_the_fingerprint_of_its_split_alone(own_faces: Path) -> None:
    before = fingerprint(own_faces)
    path = DatasetFolder(own_faces).samples("val")[0].label
    label = read_label(path)
    label[0, 0] ^= 1
    path.write_bytes(encode_png(label))
    after = fingerprint(own_faces)
    assert {split for split in before if before[split] != after[split]} == {"val"}


def test_one_byte_of_a_label_file_changes_the_fingerprint(root: Path) -> None:
    before = fingerprint(root)["train"]
    (root / "labels" / "a.png").write_bytes(b"labels/a.pnh")
    assert fingerprint(root)["train"] != before


def test_order_and_length_of_a_list_change_the_fingerprint(root: Path) -> None:
    seen = {fingerprint(root)["train"]}
    lines = (root / "train_list.txt").read_text().splitlines()
    write_list(root, "\n".join(reversed(lines)))
    seen.add(fingerprint(root)["train"])
    write_list(root, lines[0])
    seen.add(fingerprint(root)["train"])
    assert len(seen) == 3


def test_another_image_changes_the_fingerprint(root: Path) -> None:
    before = fingerprint(root)["train"]
    (root / "images" / "a.jpg").write_bytes(b"another and longer")
    assert fingerprint(root)["train"] != before


def test_labels_may_not_change_places_unnoticed(root: Path) -> None:
    first, second = root / "labels" / "a.png", root / "labels" / "b.png"
    before = fingerprint(root)["train"]
    content = first.read_bytes(), second.read_bytes()
    second.write_bytes(content[0])
    first.write_bytes(content[1])
    assert fingerprint(root)["train"] != before
