"""Each kind of thing that can be wrong with a dataset is reported, and nothing where nothing is."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.checking.check import ImageSizes, check_dataset
from faceparse.core.checking.class_orders import ORDERS
from faceparse.core.datasets.dataset_groups import write_groups
from faceparse.core.datasets.edges import update_edges
from faceparse.core.datasets.layout import SPLITS, DatasetFolder
from faceparse.core.errors import DatasetError
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from tests.core.checking.celeba import write_celeba
from tests.core.checking.damage import add_sample, append, first, problems, truncate


def test_a_good_dataset_has_no_problems(faces: Path) -> None:
    report = check_dataset(faces)
    assert report.problems == ()
    assert report.splits == {"train": 12, "val": 2, "test": 2}
    assert report.label_set == get_label_set("helen")
    assert report.order is None
    assert check_dataset(faces, processes=2) == report


def test_shares_and_images_of_each_class(own_faces: Path) -> None:
    label = read_label(first(own_faces).label)
    label[label == 8] = 9
    label[:20] = 255  # not labelled, so not counted
    first(own_faces).label.write_bytes(encode_png(label))
    labels = [read_label(s.label) for split in SPLITS for s in DatasetFolder(own_faces).samples(split)]
    together = np.concatenate([label.ravel() for label in labels])
    labelled = np.count_nonzero(together != 255)
    report = check_dataset(own_faces)
    assert [found.name for found in report.classes] == list(get_label_set("helen").names)
    for value, found in enumerate(report.classes):
        assert found.share == pytest.approx(np.count_nonzero(together == value) / labelled)
        assert found.images == sum((label == value).any() for label in labels)
    assert report.classes[8].images < 16
    assert sum(found.share for found in report.classes) == pytest.approx(1)


def test_sizes_of_the_images(own_faces: Path) -> None:
    rng = np.random.default_rng(0)
    for sample, (height, width) in zip(DatasetFolder(own_faces).samples("train"), [(40, 90), (10, 20)], strict=False):
        sample.image.write_bytes(encode_jpeg(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)))
        sample.label.write_bytes(encode_png(np.zeros((height, width), np.uint8)))
    assert check_dataset(own_faces).sizes == ImageSizes((20, 10), (72, 72), (72, 72), 3)


def test_examples_are_sound_and_from_every_split(own_faces: Path) -> None:
    broken = first(own_faces)
    truncate(broken.image)
    examples = check_dataset(own_faces).examples
    assert [split for split, _ in examples] == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    assert broken.id not in {sample.id for _, sample in examples}
    assert len({sample.id for _, sample in examples}) == 8


def test_a_folder_without_any_readable_file(own_faces: Path) -> None:
    for folder in ("images", "labels"):
        for path in (own_faces / folder).iterdir():
            path.write_bytes(b"")
    report = check_dataset(own_faces)
    assert len(report.problems) == 32
    assert (report.sizes, report.examples) == (None, ())
    assert {(found.share, found.images) for found in report.classes} == {(0, 0)}


def test_an_empty_line(own_faces: Path) -> None:
    where = append(own_faces, "")
    assert problems(own_faces) == [f"{where}: empty line; delete it"]


def test_a_group_in_two_splits(own_faces: Path) -> None:
    names = {split: [sample.id for sample in DatasetFolder(own_faces).samples(split)] for split in SPLITS}
    write_groups(own_faces, {names["train"][0]: "anna", names["test"][0]: "anna", names["val"][0]: "ben"})
    assert problems(own_faces) == [f"{own_faces}/groups.csv: anna in test and train; move each group into one split"]


def test_groups_that_cannot_be_read_or_name_nothing(own_faces: Path) -> None:
    write_groups(own_faces, {"nobody": "anna"})
    (problem,) = problems(own_faces)
    assert problem.startswith(f"{own_faces}/groups.csv: names no listed photograph; write their ids, such as ")
    (own_faces / "groups.csv").write_text("who\n")
    assert problems(own_faces) == [f"{own_faces}/groups.csv: its first line is not 'photograph,group'; write it so"]


def test_a_line_that_stands_twice(own_faces: Path) -> None:
    line = (own_faces / "train_list.txt").read_text().splitlines()[2]
    where = append(own_faces, line)
    assert problems(own_faces) == [f"{where}: the same as line 3; delete one"]
    assert check_dataset(own_faces).splits["train"] == 12


def test_a_line_without_a_label(own_faces: Path) -> None:
    where = append(own_faces, "images/a.jpg")
    assert problems(own_faces) == [f"{where}: 'images/a.jpg' is not 'images/<id>.jpg labels/<id>.png'"]


def test_a_line_that_leads_outside(own_faces: Path) -> None:
    where = append(own_faces, "../a.jpg labels/a.png")
    assert problems(own_faces) == [
        f"{where}: '../a.jpg' lies outside the dataset folder; copy the file into it",
    ]


@pytest.mark.parametrize("part", ["image", "label"])
def test_a_missing_file(own_faces: Path, part: str) -> None:
    path: Path = getattr(first(own_faces), part)
    path.unlink()
    assert problems(own_faces) == [f"{own_faces / 'train_list.txt'}:1: {path} is missing"]
    assert check_dataset(own_faces).splits["train"] == 11


def test_the_same_photograph_in_two_splits_under_another_name(own_faces: Path) -> None:
    original = first(own_faces, "val").image
    copy = add_sample(own_faces, "a_copy", original.read_bytes()).image
    assert problems(own_faces) == [
        f"{copy}, {original}: the same image in train and val; scores would be inflated"
    ]  # fmt: skip


def test_the_same_photograph_in_all_splits_by_name(own_faces: Path) -> None:
    line = (own_faces / "test_list.txt").read_text().splitlines()[0]
    append(own_faces, line, "train")
    append(own_faces, line, "val")
    path = first(own_faces, "test").image
    assert problems(own_faces) == [f"{path}: the same image in train and val and test; scores would be inflated"]


def test_a_broken_photograph_in_two_splits(own_faces: Path) -> None:
    line = (own_faces / "test_list.txt").read_text().splitlines()[0]
    append(own_faces, line, "val")
    truncate(first(own_faces, "test").image)
    found = problems(own_faces)
    assert sum("broken image" in problem for problem in found) == 2
    assert sum("the same image in val and test" in problem for problem in found) == 1


def test_missing_edge_maps_of_train_in_one_line(own_faces: Path) -> None:
    samples = DatasetFolder(own_faces).samples("train")
    for sample in samples[2:5]:
        sample.edge.unlink()
    assert problems(own_faces) == [
        f"{samples[2].edge}: missing, with 3 edge maps of train in all; run 'faceparse edges {own_faces}'"
    ]


def test_edge_maps_of_other_splits_are_not_needed(own_faces: Path) -> None:
    for split in ("val", "test"):
        for sample in DatasetFolder(own_faces).samples(split):
            sample.edge.unlink()
    assert problems(own_faces) == []


def test_edge_maps_of_another_label_in_one_line(own_faces: Path) -> None:
    samples = DatasetFolder(own_faces).samples("train")
    samples[3].edge.write_bytes(encode_png(np.zeros((36, 40), np.uint8)))
    samples[4].edge.write_bytes(samples[5].edge.read_bytes())
    assert problems(own_faces) == [
        f"{samples[3].edge}: not the edge map of its label, with 2 in all; run 'faceparse edges {own_faces} --force'"
    ]


def test_an_empty_list(own_faces: Path) -> None:
    (own_faces / "test_list.txt").write_text("")
    assert problems(own_faces) == [f"{own_faces / 'test_list.txt'}: the list is empty"]


def test_a_missing_val_list(own_faces: Path) -> None:
    (own_faces / "val_list.txt").unlink()
    assert problems(own_faces) == [f"{own_faces / 'val_list.txt'}: missing; best.pth is chosen on it"]
    assert set(check_dataset(own_faces).splits) == {"train", "test"}


def test_everything_is_told_at_once_and_alike_by_one_and_two_processes(own_faces: Path) -> None:
    samples = DatasetFolder(own_faces).samples("train")
    append(own_faces, "")
    append(own_faces, "../a.jpg labels/a.png", "val")
    truncate(samples[0].image)
    truncate(samples[5].label)
    samples[7].edge.unlink()
    samples[9].image.unlink()
    found = check_dataset(own_faces, processes=1)
    assert len(found.problems) == 6
    assert check_dataset(own_faces, processes=2) == found


def test_ids_are_judged_by_the_label_set_that_is_named(own_faces: Path) -> None:
    report = check_dataset(own_faces, dataset="fasseg")
    assert report.label_set.name == "fasseg"
    worst = max(int(read_label(sample.label).max()) for sample in DatasetFolder(own_faces).samples("train"))
    assert worst == 10
    assert sum("value 10 on" in problem for problem in report.problems) == 16


def test_a_copy_of_another_quality_is_found(own_faces: Path) -> None:
    original = first(own_faces, "val").image
    copy = add_sample(own_faces, "alike", encode_jpeg(read_image(original), quality=80)).image
    assert problems(own_faces) == [
        f"{copy}, {original}: nearly the same image in train and val; scores would be inflated"
    ]  # fmt: skip


def test_a_foreign_class_order_in_one_line(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", order=ORDERS["FaRL/SegFace"].split())
    report = check_dataset(root)
    assert report.problems == (
        f"{root / 'labels'}: the class order looks like FaRL/SegFace, not celebamask-hq; "
        f"run 'faceparse check {root} --remap' to rewrite the labels",
    )
    assert report.order == "FaRL/SegFace"
    (problem,) = check_dataset(root, dataset="celebamask-hq").problems
    assert f"'faceparse check {root} --label-set celebamask-hq --remap'" in problem


def test_the_label_sets_own_order_is_no_problem(tmp_path: Path) -> None:
    report = check_dataset(write_celeba(tmp_path / "celeba"))
    assert report.problems == ()
    assert report.order == "celebamask-hq"


def test_sides_are_judged_once_the_order_is_right(tmp_path: Path) -> None:
    root = write_celeba(tmp_path / "celeba", flipped=True)
    found = problems(root)
    assert [problem.split(" lies ")[0] for problem in found] == [
        f"{root / 'labels'}: {name}" for name in ("l_eye", "l_brow", "l_ear")
    ]
    flipped = write_celeba(tmp_path / "farl", order=ORDERS["FaRL/SegFace"].split(), flipped=True)
    (problem,) = problems(flipped)
    assert "the class order looks like FaRL/SegFace" in problem


def test_a_folder_without_any_list_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        check_dataset(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'train_list.txt'}: no such list; lines are 'images/<id>.jpg labels/<id>.png'"
    )


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gone: no such dataset folder"):
        check_dataset(tmp_path / "gone")


def test_what_is_not_wrong_by_itself_is_noted(own_faces: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned, *others = (sample for split in SPLITS for sample in DatasetFolder(own_faces).samples(split))
    Image.open(turned.image).rotate(180).save(turned.image, "JPEG", exif=exif, quality=95)
    for sample in (turned, *others):
        label = read_label(sample.label)
        label[label == 8] = 0
        label[: len(label) // 2] = 255
        sample.label.write_bytes(encode_png(label))
    report = check_dataset(own_faces)
    absent, ignored, orientation = report.notes
    assert absent.startswith(f"in no label: {get_label_set('helen').names[8]}; nothing can be learnt")
    assert " of the labels' pixels are 255, which loss and scores ignore" in ignored
    assert orientation.startswith(
        f"{turned.image}: turned upright by its EXIF orientation, with 1 in all, and 1 of their labels"
    )


def test_labels_drawn_before_the_turn_are_a_problem(own_faces: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = DatasetFolder(own_faces).samples("train")[:3]
    for sample in turned:
        upright = Image.open(sample.image).rotate(180)
        upright.save(sample.image, "JPEG", exif=exif, quality=95)  # stored upside down, its label upright
    assert not [problem for problem in check_dataset(own_faces).problems if "EXIF" in problem]
    for sample in turned:
        sample.label.write_bytes(encode_png(read_label(sample.label)[::-1, ::-1]))
    (problem,) = (problem for problem in check_dataset(own_faces).problems if "EXIF" in problem)
    assert re.search(r"labels/face_.*\.png: [23] of 3 labels fit their photographs as these are stored", problem)


def test_two_classes_of_which_one_is_255_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "label_set.toml").write_text(
        'name = "hair"\nside = "none"\n[classes]\nbackground = "#000000"\nhair = "#ffffff"\n'
    )
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for split in SPLITS:
        (tmp_path / f"{split}_list.txt").write_text(f"images/{split}.jpg labels/{split}.png\n")
        (tmp_path / f"images/{split}.jpg").write_bytes(encode_jpeg(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)))
        mask = np.zeros((20, 30), np.uint8)
        mask[:10] = 255
        (tmp_path / f"labels/{split}.png").write_bytes(encode_png(mask))
    update_edges(tmp_path)
    (problem,) = problems(tmp_path)
    assert problem == (
        f"{tmp_path / 'labels'}: hair is in no label, and 50% of the pixels are 255, which is ignored; where it means "
        "hair, write 1 (as 'faceparse prepare folder' does)"
    )
