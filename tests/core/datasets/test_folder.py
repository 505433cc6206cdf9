"""A folder of one's own: names that belong together, and labels of three kinds."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceparse.core.checking.check import check_dataset
from faceparse.core.datasets.dataset_groups import GROUPS_FILE, read_groups
from faceparse.core.datasets.folder import Folder
from faceparse.core.datasets.layout import SPLITS, DatasetFolder
from faceparse.core.datasets.parts import held_out_fold
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError, OutputError, ProblemsError, SettingsError
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.labels.mapping import read_mapping
from faceparse.core.settings import DataSettings

RANDOM = np.random.default_rng(0)
LABELS = get_label_set("fasseg")
SIZE = (20, 30)
NAMES = [f"n{i}" for i in range(6)]


def place(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def photo() -> np.ndarray:
    return RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def label() -> np.ndarray:
    return RANDOM.integers(0, 6, SIZE, dtype=np.uint8)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six JPEGs with labels of ids."""
    root = tmp_path / "raw"
    for name in NAMES:
        place(root / "images" / f"{name}.jpg", encode_jpeg(photo()))
        place(root / "labels" / f"{name}.png", encode_png(label()))
    return root


def folder(raw: Path, **options: Any) -> Folder:
    return Folder(raw, **{"label_set": LABELS, "val": 0.2, "test": 0.2, **options})


def prepared(raw: Path, **options: Any) -> Path:
    out = raw.parent / "out"
    prepare(folder(raw, **options), out)
    return out


def refusal(raw: Path, **options: Any) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises((DatasetError, SettingsError)) as caught:
        prepared(raw, **options)
    assert "\n" not in str(caught.value)
    assert not list((raw.parent / "out").glob("*_list.txt"))
    return str(caught.value)


def ids(out: Path) -> dict[str, list[str]]:
    """Split -> ids, of those splits that have a list."""
    data = DatasetFolder(out)
    return {split: [s.id for s in data.samples(split)] for split in SPLITS if data.list_path(split).is_file()}


# Names.


def test_lists_are_disjoint_and_complete(raw: Path) -> None:
    found = ids(prepared(raw))
    assert {split: len(names) for split, names in found.items()} == {"train": 4, "val": 1, "test": 1}
    assert sorted(name for names in found.values() for name in names) == NAMES


def test_shares_of_nothing_give_no_list(raw: Path) -> None:
    assert ids(prepared(raw, val=0.0, test=0.0)) == {"train": NAMES}


def test_another_seed_splits_otherwise(raw: Path) -> None:
    splits = {tuple(item.split for item in folder(raw, seed=seed).items()) for seed in range(8)}
    assert len(splits) > 1
    assert [item.split for item in folder(raw, seed=3).items()] == [item.split for item in folder(raw, seed=3).items()]


def test_files_that_are_no_images_are_passed_over(raw: Path) -> None:
    place(raw / "images" / "notes.txt", b"")
    place(raw / "images" / ".DS_Store", b"")
    (raw / "images" / "inner").mkdir()
    assert [item.id for item in folder(raw).items()] == NAMES


def test_patterns_name_photograph_and_label(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in NAMES:
        place(raw / "photos" / f"face_{name}_rgb.PNG", encode_png(photo()))
        place(raw / "masks" / f"{name}-mask.png", encode_png(label()))
    out = prepared(raw, images="photos/face_*_rgb.PNG", labels="masks/*-mask.png")
    assert sorted(name for names in ids(out).values() for name in names) == NAMES
    for name in NAMES:
        expected = read_label(raw / "masks" / f"{name}-mask.png")
        assert np.array_equal(read_label(out / "labels" / f"{name}.png"), expected)


def test_the_star_may_be_a_folder(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in NAMES:
        place(raw / name / "photo.png", encode_png(photo()))
        place(raw / name / "label.png", encode_png(label()))
    out = prepared(raw, images="*/photo.png", labels="*/label.png")
    assert sorted(name for names in ids(out).values() for name in names) == NAMES


def test_names_with_dots_and_blanks_become_names_that_a_list_can_hold(raw: Path) -> None:
    for old, new in (("n0", "my  face 1.v2"), ("n1", "a.b")):
        (raw / "images" / f"{old}.jpg").rename(raw / "images" / f"{new}.jpg")
        (raw / "labels" / f"{old}.png").rename(raw / "labels" / f"{new}.png")
    out = prepared(raw)
    found = sorted(name for names in ids(out).values() for name in names)
    assert found == ["a.b", "my_face_1.v2", "n2", "n3", "n4", "n5"]
    assert (out / "labels" / "my_face_1.v2.png").read_bytes() == encode_png(
        read_label(raw / "labels" / "my  face 1.v2.png")
    )


@pytest.mark.parametrize("name", ["n0.png", "n0.JPG"])
def test_two_images_of_one_name_are_refused(raw: Path, name: str) -> None:
    place(raw / "images" / name, encode_png(photo()))
    message = refusal(raw)
    assert f"{raw / 'images' / name}" in message
    assert f"{raw / 'images' / 'n0.jpg'}" in message
    assert message.endswith("have the same name; narrow the pattern with --images")


def test_two_names_that_become_one_are_refused(raw: Path) -> None:
    for name in ("a b", "a_b"):
        place(raw / "images" / f"{name}.jpg", encode_jpeg(photo()))
        place(raw / "labels" / f"{name}.png", encode_png(label()))
    assert refusal(raw).endswith("a b.jpg have the same name; narrow the pattern with --images")


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images/a.jpg", "labels/*.png"), ("*/*.jpg", "labels/*.png"), ("images/*", "labels/a.png"), ("**/*", "l/*.png")],
)
def test_patterns_without_the_same_wildcards_are_refused(raw: Path, images: str, labels: str) -> None:
    assert refusal(raw, images=images, labels=labels) == (
        f"--images {images!r} and --labels {labels!r}: write the same wildcards in both, * for a name and ** for any "
        "folders, such as 'photos/*.jpg' and 'masks/*.png', or 'photos/**/*.jpg' and 'masks/**/*.png'"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"images": "{person}/*.jpg"}, "--images '{person}/*.jpg': {person} means nothing there; it may have {split}"),
        ({"labels": "{split}/*.png"}, "--labels '{split}/*.png': {split} means nothing there; it may have {class}"),
        ({"labels": "labels/*"}, "--labels 'labels/*': ends without a suffix; write it, such as 'labels/*.png'"),
        ({"labels": "labels/*.json"}, "--labels 'labels/*.json': is no picture; --annotations 'labels/*.json' reads"),
        ({"on_broken": "drop"}, "--on-broken 'drop': not one of fail, skip"),
    ],
)
def test_options_that_mean_nothing_are_refused(raw: Path, options: dict[str, Any], expected: str) -> None:
    assert refusal(raw, **options).startswith(expected)


def test_patterns_are_relative_to_the_folder(raw: Path) -> None:
    message = refusal(raw, images=f"{raw}/images/*.jpg")
    assert message.endswith(f"patterns are relative to {raw}")


def test_a_pattern_that_matches_nothing_is_named(raw: Path) -> None:
    assert refusal(raw, images="photos/*.jpg") == (
        f"{raw / 'photos/*.jpg'}: no images; name them with --images 'photos/*.jpg', or 'photos/**/*.jpg' "
        "where they lie in folders"
    )


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone") == f"{tmp_path / 'gone'}: no such folder"


def test_the_raw_folder_itself_is_not_written_into(raw: Path) -> None:
    before = (raw / "labels" / "n0.png").read_bytes()
    with pytest.raises(OutputError, match="did not write; choose another folder"):
        prepare(folder(raw), raw)
    assert (raw / "labels" / "n0.png").read_bytes() == before
    assert {path.name for path in raw.iterdir()} == {"images", "labels"}


# Photographs.


def test_jpegs_are_copied_byte_by_byte(raw: Path) -> None:
    place(raw / "images" / "n0.jpg", encode_jpeg(photo(), quality=40))
    out = prepared(raw)
    for name in NAMES:
        assert (out / "images" / f"{name}.jpg").read_bytes() == (raw / "images" / f"{name}.jpg").read_bytes()


def test_other_pictures_become_jpegs(raw: Path) -> None:
    smooth = np.full((*SIZE, 3), (200, 60, 20), np.uint8)
    (raw / "images" / "n0.jpg").unlink()
    place(raw / "images" / "n0.png", encode_png(smooth))
    out = prepared(raw)
    assert (out / "images" / "n0.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert np.abs(read_image(out / "images" / "n0.jpg").astype(int) - smooth).max() < 6


def turned_jpeg(size: tuple[int, int]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_a_label_has_the_size_of_the_upright_photograph(raw: Path) -> None:
    place(raw / "images" / "n0.jpg", turned_jpeg(SIZE[::-1]))
    out = prepared(raw)
    assert read_image(out / "images" / "n0.jpg").shape[:2] == SIZE


def test_a_label_that_lies_beside_its_turned_photograph_is_refused(raw: Path) -> None:
    place(raw / "images" / "n0.jpg", turned_jpeg(SIZE))
    assert refusal(raw) == (
        f"1 of 6 could not be prepared: {raw / 'labels' / 'n0.png'}: label is 30 x 20, as its photograph is "
        "stored, which EXIF orientation 6 turns to 20 x 30; turn the label likewise, or save the photograph upright "
        "without EXIF; --on-broken skip leaves them out"
    )


def test_photographs_that_are_turned_are_counted(raw: Path) -> None:
    for name in NAMES[:2]:
        place(raw / "images" / f"{name}.jpg", turned_jpeg(SIZE[::-1]))
    (notice,) = prepare(folder(raw), raw.parent / "out").notices
    assert notice.startswith("2 of 6 photographs are turned upright by their EXIF orientation, and 2 of their labels")


def test_animations_are_counted(raw: Path) -> None:
    for name in NAMES[:2]:
        pictures = [Image.fromarray(photo()), Image.fromarray(photo())]
        (raw / "images" / f"{name}.jpg").unlink()
        pictures[0].save(raw / "images" / f"{name}.png", save_all=True, append_images=pictures[1:])
    (notice,) = prepare(folder(raw), raw.parent / "out").notices
    assert notice == "n0: holds 2 pictures; only the first is taken; and so on, 2 in all"


# Labels.


def test_ids_stay_ids(raw: Path) -> None:
    out = prepared(raw)
    for name in NAMES:
        assert np.array_equal(read_label(out / "labels" / f"{name}.png"), read_label(raw / "labels" / f"{name}.png"))


def test_palette_labels_become_their_indices(raw: Path) -> None:
    expected = label()
    write_palette_png(raw / "labels" / "n0.png", expected, LABELS.palette()[::-1].copy())
    out = prepared(raw)
    assert np.array_equal(read_label(out / "labels" / "n0.png"), expected)
    assert (out / "labels" / "n0.png").read_bytes() == encode_png(expected)  # no palette any more


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_of_the_label_set_become_ids(raw: Path, alpha: bool) -> None:
    expected = label()
    picture = LABELS.palette()[expected]
    if alpha:
        picture = np.dstack([picture, np.full(SIZE, 255, np.uint8)])
    Image.fromarray(picture).save(raw / "labels" / "n0.png")
    assert np.array_equal(read_label(prepared(raw) / "labels" / "n0.png"), expected)


def test_a_border_may_be_off_the_palette(raw: Path) -> None:
    expected = label()
    picture = LABELS.palette()[expected].astype(int)
    picture[:8] = np.clip(picture[:8] + RANDOM.integers(-40, 41, (8, SIZE[1], 3)), 0, 255)  # 40 % of the rows
    place(raw / "labels" / "n0.png", encode_png(picture.astype(np.uint8)))
    assert np.array_equal(read_label(prepared(raw) / "labels" / "n0.png"), expected)


def test_grey_pictures_of_three_channels_are_not_taken_for_colours(raw: Path) -> None:
    ids = label()
    place(raw / "labels" / "n0.png", encode_png(np.dstack([ids, ids, ids])))
    expected = "three equal channels, and not only colours of label set 'fasseg'; save the ids as a single-channel PNG"
    assert expected in refusal(raw)


def test_greys_are_colours_where_the_label_set_has_them(raw: Path, tmp_path: Path) -> None:
    file = place(tmp_path / "grey.toml", GREYS)
    expected = {}
    for name in NAMES:
        expected[name] = RANDOM.integers(0, 3, SIZE, dtype=np.uint8)
        picture = np.array([0, 128, 255], np.uint8)[expected[name]]
        place(raw / "labels" / f"{name}.png", encode_png(np.dstack([picture] * 3)))
    out = prepared(raw, label_set=get_label_set(str(file)))
    for name in NAMES:
        assert np.array_equal(read_label(out / "labels" / f"{name}.png"), expected[name])


GREYS = b"""
name = "grey"
side = "none"
[classes]
background = "#000000"
skin = "#808080"
hair = "#ffffff"
"""


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "WebP"])
def test_formats_that_change_values_are_no_labels(raw: Path, mode: str, kind: str) -> None:
    """By content, whatever the name says."""
    for name in NAMES:
        Image.fromarray(label() * 40).convert(mode).save(raw / "labels" / f"{name}.png", format=kind, quality=95)
    assert f"n0.png: a {kind} changes the values of a label; save it as PNG" in refusal(raw)


def test_a_webp_without_loss_is_a_label(raw: Path) -> None:
    colours = LABELS.palette()[expected := label()]
    Image.fromarray(colours).save(raw / "labels" / "n0.png", format="WebP", lossless=True)
    assert np.array_equal(read_label(prepared(raw) / "labels" / "n0.png"), expected)


def test_a_pattern_may_begin_with_the_folder_itself(raw: Path) -> None:
    names = [item.id for item in folder(raw, images="./images/*.jpg", labels="./labels/*.png").items()]
    assert sorted(names) == NAMES


def test_a_picture_of_another_palette_is_refused(raw: Path) -> None:
    place(raw / "labels" / "n0.png", encode_png(get_label_set("helen").palette()[label()]))
    message = refusal(raw)
    assert message.startswith(
        f"1 of 6 could not be prepared: {raw / 'labels' / 'n0.png'}: only 0% of its painted pixels have a colour of "
        "label set 'fasseg'"
    )
    assert "--label-set FILE" in message


def test_own_label_sets_are_used_for_colours(raw: Path) -> None:
    own = LabelSet(name="own", side="none", classes={"a": "#102030", "b": "#405060"})
    ids_of = RANDOM.integers(0, 2, SIZE, dtype=np.uint8)
    for name in NAMES:
        place(raw / "labels" / f"{name}.png", encode_png(own.palette()[ids_of]))
    assert np.array_equal(read_label(prepared(raw, label_set=own) / "labels" / "n0.png"), ids_of)


def test_all_broken_photographs_are_told_at_once(raw: Path) -> None:
    truncated = raw / "images" / "n0.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-50])
    (raw / "labels" / "n1.png").unlink()
    place(raw / "labels" / "n2.png", encode_png(np.full(SIZE, 37, np.uint8)))
    place(raw / "labels" / "n3.png", encode_png(label())[:-40])
    message = refusal(raw)
    assert message.startswith("4 of 6 could not be prepared: ")
    for part in (
        f"{truncated}: truncated JPEG; replace the file",
        f"{raw / 'labels' / 'n1.png'}: missing; every image needs its label picture (see --labels)",
        f"{raw / 'labels' / 'n2.png'}: value 37 is not one of the 6 classes (0 to 5, 255 ignored); "
        "a label set names all ids of its labels, which --mapping may merge",
        f"{raw / 'labels' / 'n3.png'}: truncated or damaged PNG; replace the file",
    ):
        assert part in message


# The folder it goes to.


def test_the_same_folder_again_is_fine_and_another_is_not(raw: Path) -> None:
    out = prepared(raw)
    before = (out / "train_list.txt").read_bytes()
    prepare(folder(raw), out, processes=2)
    assert (out / "train_list.txt").read_bytes() == before
    other = Path(shutil.copytree(raw, raw.parent / "other"))
    with pytest.raises(OutputError, match="another source or with other options"):
        prepare(folder(other), out)


@pytest.mark.parametrize("change", [{"seed": 1}, {"val": 0.3}, {"label_set": get_label_set("helen")}])
def test_other_options_are_another_dataset(raw: Path, change: dict[str, Any]) -> None:
    out = prepared(raw)
    with pytest.raises(OutputError, match="another source or with other options"):
        prepare(folder(raw, **change), out)


# Masks of two values.


HAIR = b"""
name = "hair"
side = "none"
[classes]
background = "#000000"
hair = "%s"
"""


def masks(raw: Path, kind: str) -> dict[str, np.ndarray]:
    """Every label painted 0 and 255; the ids that are meant."""
    expected = {}
    for name in NAMES:
        expected[name] = RANDOM.integers(0, 2, SIZE, dtype=np.uint8)
        Image.fromarray(expected[name] * 255).convert(kind).save(raw / "labels" / f"{name}.png")
    return expected


@pytest.mark.parametrize("colour", [b"#ffffff", b"#5a3a22"])
@pytest.mark.parametrize("kind", ["L", "1", "RGB"])
def test_masks_of_0_and_255_are_two_classes(raw: Path, tmp_path: Path, kind: str, colour: bytes) -> None:
    hair = get_label_set(str(place(tmp_path / "hair.toml", HAIR % colour)))
    expected = masks(raw, kind)
    out = tmp_path / "out"
    for _ in range(2):  # what is remembered is told again
        report = prepare(folder(raw, label_set=hair), out)
        notice = "6 labels: values are no ids but colours, 0 is background, 255 is hair"
        assert report.notices == (() if kind == "1" else (notice,))
    for name in NAMES:
        assert np.array_equal(read_label(out / "labels" / f"{name}.png"), expected[name])


def test_where_any_label_has_ids_255_stays_ignored(raw: Path, tmp_path: Path) -> None:
    hair = get_label_set(str(place(tmp_path / "hair.toml", HAIR % b"#ffffff")))
    masks(raw, "L")
    ids_of = RANDOM.integers(0, 2, SIZE, dtype=np.uint8)
    place(raw / "labels" / "n3.png", encode_png(ids_of))
    out = tmp_path / "out"
    report = prepare(folder(raw, label_set=hair), out)
    assert np.array_equal(read_label(out / "labels" / "n3.png"), ids_of)
    assert set(np.unique(read_label(out / "labels" / "n0.png"))) == {0, 255}
    assert [notice for notice in report.notices if "which loss and scores ignore" in notice] == list(report.notices)


def test_greys_of_one_channel_are_colours_where_the_label_set_has_them(raw: Path, tmp_path: Path) -> None:
    expected = {}
    for name in NAMES:
        expected[name] = RANDOM.integers(0, 3, SIZE, dtype=np.uint8)
        place(raw / "labels" / f"{name}.png", encode_png(np.array([0, 128, 255], np.uint8)[expected[name]]))
    out = prepared(raw, label_set=get_label_set(str(place(tmp_path / "grey.toml", GREYS))))
    for name in NAMES:
        assert np.array_equal(read_label(out / "labels" / f"{name}.png"), expected[name])


def test_classes_of_no_label_are_told(raw: Path) -> None:
    for name in NAMES:
        place(raw / "labels" / f"{name}.png", encode_png(np.minimum(label(), 3)))
    (notice,) = prepare(folder(raw), raw.parent / "out").notices
    absent = ", ".join(LABELS.names[4:])
    assert notice == f"in no label: {absent}; nothing can be learnt of it; see whether ids and label set fit"


PASSED_OVER = "passed over, being no photographs:"

# Whatever a camera calls its files.


def test_capitals_in_suffixes_are_found_and_other_files_told(raw: Path) -> None:
    for kind, name in (("images", "n0.JPG"), ("labels", "n0.PNG")):
        (raw / kind / name.lower()).rename(raw / kind / name)
    place(raw / "images" / "n9.psd", b"")
    place(raw / "images" / ".DS_Store", b"")
    for pattern, passed_over in (("images/*.jpg", []), ("images/*", [f"{PASSED_OVER} 1 other: n9.psd"])):
        source = folder(raw, images=pattern)
        assert [item.id for item in source.items()] == NAMES
        assert [note for note in source.notes() if note.startswith(PASSED_OVER)] == passed_over
    assert sorted(name for names in ids(prepared(raw)).values() for name in names) == NAMES


# Folders in folders, and splits and groups of the user's own.


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Four photographs of each of five people, in folders."""
    root = tmp_path / "raw"
    for person in ("anna", "ben", "cy", "dan", "eve"):
        for n in range(4):
            place(root / "images" / person / f"{n}.jpg", encode_jpeg(photo()))
            place(root / "labels" / person / f"{n}.png", encode_png(label()))
    return root


def test_folders_in_folders_keep_their_names(nested: Path) -> None:
    place(nested / "images" / "zoe.JPG", encode_jpeg(photo()))  # ** is also no folder
    place(nested / "labels" / "zoe.png", encode_png(label()))
    place(nested / "images" / ".thumbnails" / "zoe.jpg", encode_jpeg(photo()))
    out = prepared(nested, images="images/**/*.jpg", labels="labels/**/*.png")
    found = sorted(name for names in ids(out).values() for name in names)
    assert found == sorted(
        [f"{person}/{n}" for person in ("anna", "ben", "cy", "dan", "eve") for n in range(4)] + ["zoe"]
    )
    for name in found:
        assert np.array_equal(read_label(out / "labels" / f"{name}.png"), read_label(nested / "labels" / f"{name}.png"))


def test_a_person_stays_in_one_split(nested: Path) -> None:
    options = {"images": "images/**/*.jpg", "labels": "labels/**/*.png", "group": "{group}/*"}
    for seed in range(6):
        items = folder(nested, **options, seed=seed).items()
        assert {item.split for item in items} == set(SPLITS)
        places = {(item.id.split("/")[0], item.split) for item in items}
        assert len(places) == 5


def test_groups_are_written_for_folds_and_stay_with_a_grown_folder(nested: Path) -> None:
    options = {"images": "images/**/*.jpg", "labels": "labels/**/*.png", "group": "{group}/*"}
    place(nested / "images" / "zoe.jpg", encode_jpeg(photo()))  # fits no group
    place(nested / "labels" / "zoe.png", encode_png(label()))
    out = prepared(nested, **options)
    people = {f"{person}/{n}": person for person in ("anna", "ben", "cy", "dan", "eve") for n in range(4)}
    assert read_groups(out) == people
    held = held_out_fold(DataSettings.model_validate({"root": out, "folds": 2}), 0)
    trained = {sample.id for split in ("train", "val") for sample in DatasetFolder(out).samples(split)}
    assert len({(people[sample.id], fold) for sample, fold in held.items() if sample.id in people}) == len(
        {people[name] for name in trained if name in people}
    )
    (out / GROUPS_FILE).unlink()
    place(nested / "images" / "anna" / "9.jpg", encode_jpeg(photo()))
    place(nested / "labels" / "anna" / "9.png", encode_png(label()))
    report = prepare(folder(nested, **options), out)
    assert (report.done, read_groups(out)) == (1, people | {"anna/9": "anna"})
    (out / GROUPS_FILE).unlink()
    assert prepare(folder(nested, **options), out).done == 0
    assert read_groups(out) == people | {"anna/9": "anna"}
    assert not [one for one in check_dataset(out).problems if GROUPS_FILE in one]


def test_groups_are_written_where_the_splits_are_the_users(nested: Path, tmp_path: Path) -> None:
    table = place(tmp_path / "splits.csv", b"id,split\nanna/0,train\nanna/1,train\nben/0,val\n")
    options = {"images": "images/**/*.jpg", "labels": "labels/**/*.png", "splits": str(table)}
    out = prepared(nested, **options, group="{group}/*", val=None, test=None)
    assert read_groups(out) == {"anna/0": "anna", "anna/1": "anna", "ben/0": "ben"}


def test_a_group_that_is_named_otherwise_is_written_otherwise(raw: Path, tmp_path: Path) -> None:
    table, out = place(tmp_path / "people.csv", b"id,group\nn0,anna\nn1,anna\n"), tmp_path / "out"
    prepare(folder(raw, group=str(table)), out)
    assert read_groups(out) == {"n0": "anna", "n1": "anna"}
    table.write_bytes(b"id,group\nn0,eve\n")
    assert prepare(folder(raw, group=str(table)), out).done == 0
    assert read_groups(out) == {"n0": "eve"}


def test_the_users_own_groups_are_left_alone(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(folder(raw), out)
    place(out / GROUPS_FILE, b"photograph,group\nn0,anna\n")
    place(raw / "images" / "n9.jpg", encode_jpeg(photo()))
    place(raw / "labels" / "n9.png", encode_png(label()))
    assert prepare(folder(raw), out).done == 1
    assert read_groups(out) == {"n0": "anna"}


def test_the_same_files_from_another_working_folder_are_the_same_options(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"{name},{'val' if name == 'n5' else 'train'}\n" for name in NAMES)
    place(tmp_path / "splits.csv", f"id,split\n{lines}".encode())
    place(tmp_path / "people.csv", b"id,group\nn0,anna\n")
    place(tmp_path / "elsewhere" / "people.csv", b"id,group\nn1,anna\n")
    options: dict[str, Any] = {"splits": "splits.csv", "group": "people.csv", "val": None, "test": None}
    monkeypatch.chdir(tmp_path)
    prepare(folder(raw, **options), tmp_path / "out")
    monkeypatch.chdir(tmp_path / "elsewhere")
    same = options | {"splits": "../splits.csv", "group": str(tmp_path / "people.csv")}
    assert prepare(folder(raw, **same), tmp_path / "out").done == 0
    with pytest.raises(OutputError, match="was prepared from another source or with other options"):
        prepare(folder(raw, **same | {"group": "people.csv"}), tmp_path / "out")


def test_splits_may_be_folders(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for word in ("Train", "valid", "test"):
        place(raw / "images" / word / "1.jpg", encode_jpeg(photo()))  # the same name in each
        place(raw / "labels" / word / "1.png", encode_png(label()))
    source = folder(raw, images="images/{split}/*.jpg", labels="labels/{split}/*.png", val=None, test=None)
    assert {item.id: item.split for item in source.items()} == {
        "Train/1": "train", "valid/1": "val", "test/1": "test"
    }  # fmt: skip
    stars = folder(raw, images="images/*/*.jpg", labels="labels/*/*.png")
    stars.items()
    assert any(note.startswith("splits are drawn, although folders are named test, train, v") for note in stars.notes())
    place(raw / "images" / "tset" / "1.jpg", encode_jpeg(photo()))
    with pytest.raises(DatasetError, match=r"'tset' stands where --images has \{split\}, and is none of .*'test'\?; "):
        source.items()


def test_one_label_is_not_that_of_two_photographs(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for word in ("train", "val"):
        place(raw / "images" / word / "1.jpg", encode_jpeg(photo()))
    place(raw / "labels" / "1.png", encode_png(label()))
    message = refusal(raw, images="images/{split}/*.jpg", val=None, test=None)
    assert message == (
        f"{raw / 'labels/1.png'}: would be the label of {raw / 'images/train/1.jpg'} and of "
        f"{raw / 'images/val/1.jpg'}; let --labels name the folders, too, such as {{split}}"
    )


def test_splits_may_be_a_table(raw: Path, tmp_path: Path) -> None:
    table = place(tmp_path / "splits.csv", b"id,split\nn0,train\nn1.jpg,train\nimages/n2.jpg,val\nn3,Test\n")
    source = folder(raw, splits=str(table), val=None, test=None)
    assert {item.id: item.split for item in source.items()} == {"n0": "train", "n1": "train", "n2": "val", "n3": "test"}
    assert "left out, being in no split: n4, n5" in source.notes()


def test_splits_may_be_lists_and_a_share_of_train_becomes_val(raw: Path, tmp_path: Path) -> None:
    place(tmp_path / "train.txt", b"\xef\xbb\xbfn0\r\nn1\r\n# comment\r\n\r\nn2\r\nn3.jpg\r\n")
    place(tmp_path / "test.txt", b"images\\n4.jpg\nn5\n")
    lists = str(tmp_path / "{split}.txt")
    source = folder(raw, splits=lists, val=None, test=None)
    splits = {item.id: item.split for item in source.items()}
    assert splits == dict.fromkeys(["n0", "n1", "n2", "n3"], "train") | dict.fromkeys(["n4", "n5"], "test")
    assert any(note.startswith("no val, on which the best weights are chosen; --val 0.1") for note in source.notes())
    splits = {item.id: item.split for item in folder(raw, splits=lists, val=0.2, test=None).items()}
    assert {key for key, split in splits.items() if split == "test"} == {"n4", "n5"}
    assert set(splits.values()) == set(SPLITS)
    with pytest.raises(SettingsError, match="--test: has no effect, since the dataset has its own test; leave it out"):
        folder(raw, splits=lists, val=None, test=0.2).items()


def test_lists_that_were_edited_move_photographs_in_a_prepared_folder(raw: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "splits.csv", tmp_path / "out"
    lines = ["id,split", *(f"{name},{'val' if name == 'n5' else 'train'}" for name in NAMES)]
    table.write_text("\n".join(lines))
    options = {"splits": str(table), "val": None, "test": None}
    prepare(folder(raw, **options), out)
    table.write_text("\n".join(lines).replace("n0,train", "n0,val"))
    report = prepare(folder(raw, **options), out)
    assert (report.done, ids(out)) == (0, {"train": ["n1", "n2", "n3", "n4"], "val": ["n0", "n5"]})


def test_a_group_in_two_splits_of_ones_own_is_refused(nested: Path, tmp_path: Path) -> None:
    table = place(tmp_path / "splits.csv", b"id,split\nanna/0,train\nanna/1,test\nben/0,train\n")
    options = {
        "images": "images/**/*.jpg",
        "labels": "labels/**/*.png",
        "splits": str(table),
        "val": None,
        "test": None,
    }
    expected = "--group {group}/*: anna in test and train; move each group into one split"
    assert refusal(nested, **options, group="{group}/*") == expected


def test_lines_that_name_no_photograph_are_told_with_all_else_at_the_end(raw: Path, tmp_path: Path) -> None:
    table = place(tmp_path / "splits.csv", b"id,split\nn0,train\nn9,train\nn1,vla\nn2,val\n")
    (raw / "labels" / "n0.png").write_bytes(b"")
    options: dict[str, Any] = {"splits": str(table), "val": None, "test": None}
    with pytest.raises(ProblemsError) as caught:
        prepared(raw, **options)
    broken, *others = caught.value.problems
    assert broken.startswith(f"{raw / 'labels/n0.png'}: ")
    assert sorted(others) == [
        f"{table}:3: 'n9' is no photograph in {raw}; fix the line",
        f"{table}:4: 'vla' is no split; write train, val or test",
    ]
    report = prepare(folder(raw, **options, on_broken="skip"), tmp_path / "out")
    assert report.left_out == caught.value.problems
    assert ids(tmp_path / "out") == {"val": ["n2"]}
    assert "train is empty, since all of its photographs were left out; add photographs or choose another --seed" in (
        report.notices
    )


def test_splits_in_folders_and_in_a_file_are_one_too_many(raw: Path) -> None:
    message = refusal(raw, images="{split}/*.jpg", splits="splits.csv")
    assert message == "--splits splits.csv: has no effect, since --images has {split}; leave out one of them"


# Photographs that are left out, and those that come later.


def test_what_cannot_be_prepared_is_left_out_listed_and_counted(raw: Path) -> None:
    truncated = raw / "images" / "n0.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-50])
    whole = (raw / "labels" / "n1.png").read_bytes()
    (raw / "labels" / "n1.png").unlink()
    refusal(raw)
    out = raw.parent / "out"
    for done in (2, 0):  # four were done when it was refused
        report = prepare(folder(raw, on_broken="skip"), out)
        assert report.left_out == (
            f"{truncated}: truncated JPEG; replace the file",
            f"{raw / 'labels' / 'n1.png'}: missing; every image needs its label picture (see --labels)",
        )
        assert (report.done, sum(report.splits.values())) == (done, 4)
    assert sorted(name for names in ids(out).values() for name in names) == NAMES[2:]
    with pytest.raises(ProblemsError, match="2 of 6 could not be prepared"):
        prepare(folder(raw), out)
    place(raw / "labels" / "n1.png", whole)
    report = prepare(folder(raw, on_broken="skip"), out)
    assert (report.done, sum(report.splits.values()), len(report.left_out)) == (1, 5, 1)


def test_a_folder_of_which_all_would_be_left_out_is_refused(raw: Path) -> None:
    shutil.rmtree(raw / "labels")
    message = refusal(raw, on_broken="skip")
    assert message.startswith(f"every photograph would be left out: {raw / 'labels' / 'n0.png'}: missing; every image")
    assert not (raw.parent / "out").exists()


def test_photographs_without_labels_do_not_count_in_the_splits(raw: Path) -> None:
    """Else val could be a photograph that nobody labelled."""
    for i in range(200):
        place(raw / "images" / f"x{i}.jpg", b"")
    for seed in range(8):
        items = folder(raw, on_broken="skip", seed=seed).items()
        assert {item.split for item in items if not item.problem} == set(SPLITS)


def test_photographs_that_are_added_move_no_others(raw: Path, tmp_path: Path) -> None:
    out = prepared(raw)
    before = {name: split for split, names in ids(out).items() for name in names}
    for i in range(6, 30):
        place(raw / "images" / f"n{i}.jpg", encode_jpeg(photo()))
        place(raw / "labels" / f"n{i}.png", encode_png(label()))
    for folder_, done in ((out, 24), (tmp_path / "new", 30)):  # nothing was lent, so a new folder has the same
        report = prepare(folder(raw), folder_)
        after = {name: split for split, names in ids(folder_).items() for name in names}
        assert (report.done, len(after)) == (done, 30)
        assert {name: after[name] for name in before} == before


def test_who_was_lent_to_a_split_stays_there_with_later_photographs(nested: Path) -> None:
    """Else a person would be in two splits of one folder."""
    options = {
        "images": "images/**/*.jpg",
        "labels": "labels/**/*.png",
        "group": "{group}/*",
        "val": 0.02,
        "test": 0.02,
    }
    source = folder(nested, **options)
    lent = {item.id: item.split for item in source.items() if item.split != "train"}
    assert any("is lent to it" in note for note in source.notes())
    out = nested.parent / "out"
    prepare(source, out)
    for person in [f"p{i}" for i in range(60)] + sorted({key.split("/")[0] for key in lent}):
        place(nested / "images" / person / "9.jpg", encode_jpeg(photo()))
        place(nested / "labels" / person / "9.png", encode_png(label()))
    prepare(folder(nested, **options), out)
    found = {(name.split("/")[0], split) for split, names in ids(out).items() for name in names}
    assert len(found) == 65
    assert {(key.split("/")[0], split) for key, split in lent.items()} <= found


# Where labels lie.


def test_labels_may_lie_beside_their_photographs(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in NAMES:
        place(raw / f"{name}.png", encode_png(photo()))
        place(raw / f"{name}_mask.png", encode_png(label()))
    assert [item.id for item in folder(raw, images="*.png", labels="*_mask.png").items()] == NAMES


def test_labels_without_a_photograph_are_told(raw: Path) -> None:
    place(raw / "labels" / "n7.png", encode_png(label()))
    source = folder(raw)
    source.items()
    assert source.notes() == ["1 label file without a photograph: n7.png"]


# Mappings.


def test_what_is_merged_is_counted(raw: Path, tmp_path: Path) -> None:
    background, hair, skin, eyes, mouth, nose = LABELS.names
    text = f'{background} = ["{background}"]\nhead = ["{hair}", "{skin}", "{eyes}", "{nose}"]\nignored = ["{mouth}"]\n'
    mapping = read_mapping(place(tmp_path / "two.toml", text.encode()))
    counts = np.bincount(np.stack([read_label(raw / "labels" / f"{n}.png") for n in NAMES]).ravel(), minlength=6)
    report = prepare(folder(raw, mapping=mapping), tmp_path / "out")
    old = dict(zip(LABELS.names, counts.tolist(), strict=True))
    every = counts.sum()
    expected = ", ".join(f"{name} in head {old[name]} ({old[name] / every:.1%})" for name in (hair, skin, eyes, nose))
    expected += f", {mouth} ignored {old[mouth]} ({old[mouth] / every:.1%})"
    assert f"merged by the mapping, in pixels: {expected}" in report.notices
    for name in NAMES:
        before, after = read_label(raw / "labels" / f"{name}.png"), read_label(tmp_path / "out/labels" / f"{name}.png")
        table = np.array([0, 1, 1, 1, 255, 1], np.uint8)
        assert np.array_equal(after, table[before])
