import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.files import encode_jpeg, read_image
from faceparse.core.inference import Parser
from faceparse.core.labels import LabelSet, get_label_set
from faceparse.core.model.trained import ParsingNetwork
from faceparse.core.prediction import list_images, predict_files
from faceparse.core.settings import DataSettings
from tests.conftest import Bands

HELEN: LabelSet = get_label_set("helen")


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser(ParsingNetwork(Bands(), DataSettings(input_size=(64, 64))), torch.device("cpu"))  # type: ignore[arg-type]


@pytest.fixture
def photographs(faces: Path, tmp_path: Path) -> Path:
    """Three photographs of different sizes and formats."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    first, second, third = sorted((faces / "images").iterdir())[:3]
    shutil.copy(first, folder / "a.jpg")
    cv2.imwrite(str(folder / "b.PNG"), cv2.resize(cv2.imread(str(second)), (50, 90)))  # type: ignore[arg-type]
    cv2.imwrite(str(folder / "c.bmp"), cv2.resize(cv2.imread(str(third)), (120, 40)))  # type: ignore[arg-type]
    (folder / "notes.txt").write_text("not a photograph")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_labels_are_the_parsers_at_each_photographs_size(parser: Parser, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = predict_files(parser, HELEN, [photographs], out)
    assert (report.done, report.broken) == (3, [])
    paths = [photographs / name for name in ("a.jpg", "b.PNG", "c.bmp")]
    expected = parser.parse([read_image(path) for path in paths])
    for path, label in zip(paths, expected, strict=True):
        with Image.open(out / "labels" / f"{path.stem}.png") as picture:
            assert picture.mode == "P"
            assert np.array_equal(np.array(picture), label)
            palette = picture.getpalette()
        assert palette is not None
        assert palette[:33] == HELEN.palette().flatten().tolist()
    assert names(out / "labels") == {"a.png", "b.png", "c.png"}
    assert [label.shape for label in expected] == [(72, 72), (90, 50), (40, 120)]


def test_overlays_paint_everything_but_the_background(parser: Parser, photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_files(parser, HELEN, [photographs / "b.PNG"], out)
    image = read_image(photographs / "b.PNG").astype(float)
    label = np.array(Image.open(out / "labels" / "b.png"))
    colours = HELEN.palette().astype(float)[label]
    expected = np.where(label[..., None] == 0, image, 0.55 * colours + 0.45 * image)
    again = read_image_bytes(encode_jpeg(np.rint(expected).astype(np.uint8)))
    assert np.abs(read_image(out / "overlays" / "b.jpg").astype(float) - again).max() <= 12  # rounding before JPEG
    assert len(np.unique(label)) > 3


def read_image_bytes(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None
    return image


def test_more_photographs_than_a_batch_are_all_done_in_processes(parser: Parser, faces: Path, tmp_path: Path) -> None:
    report = predict_files(parser, HELEN, [faces / "images"], tmp_path / "out", batch_size=3)
    assert report.done == 16
    assert names(tmp_path / "out" / "labels") == {
        path.with_suffix(".png").name for path in (faces / "images").iterdir()
    }
    path = sorted((faces / "images").iterdir())[11]
    (expected,) = parser.parse([read_image(path)])
    found = np.array(Image.open(tmp_path / "out" / "labels" / f"{path.stem}.png"))
    assert (found == expected).mean() > 0.999


def test_a_broken_photograph_does_not_cost_the_others(parser: Parser, photographs: Path, tmp_path: Path) -> None:
    whole = (photographs / "a.jpg").read_bytes()
    (photographs / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (photographs / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = predict_files(parser, HELEN, [photographs], tmp_path / "out", batch_size=2)
    assert report.done == 2
    assert [line.split(": ")[0] for line in report.broken] == [str(photographs / name) for name in ("a.jpg", "d.png")]
    assert all("replace the file" in line and "\n" not in line for line in report.broken)
    assert names(tmp_path / "out" / "labels") == {"b.png", "c.png"}
    assert names(tmp_path / "out" / "overlays") == {"b.jpg", "c.jpg"}
    for name in ("b.PNG", "c.bmp"):  # each its own, whoever was left out before it
        (expected,) = parser.parse([read_image(photographs / name)])
        found = np.array(Image.open(tmp_path / "out" / "labels" / Path(name).with_suffix(".png")))
        assert np.array_equal(found, expected)


def test_photographs_that_are_all_broken_leave_no_labels(parser: Parser, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    report = predict_files(parser, HELEN, [tmp_path / "a.jpg"], tmp_path / "out")
    assert (report.done, len(report.broken)) == (0, 1)
    assert names(tmp_path / "out") == set()


def test_inputs_are_taken_once_in_order(photographs: Path) -> None:
    expected = [photographs / name for name in ("c.bmp", "a.jpg", "b.PNG")]
    assert list_images([photographs / "c.bmp", photographs, photographs / "a.jpg"]) == expected


def test_one_stem_with_two_suffixes_keeps_both(parser: Parser, photographs: Path, tmp_path: Path) -> None:
    shutil.copy(photographs / "c.bmp", photographs / "a.bmp")
    predict_files(parser, HELEN, [photographs], tmp_path / "out")
    assert names(tmp_path / "out" / "labels") == {"a_jpg.png", "a_bmp.png", "b.png", "c.png"}
    with Image.open(tmp_path / "out" / "labels" / "a_bmp.png") as picture:
        assert picture.size == (120, 40)


def test_two_photographs_of_one_name_are_refused_before_anything_is_written(
    parser: Parser, photographs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(photographs / "a.jpg", other)
    with pytest.raises(DatasetError) as caught:
        predict_files(parser, HELEN, [photographs, other], tmp_path / "out")
    expected = "two inputs would both be written as 'a_jpg'; run predict once per folder, each with its own --output"
    assert str(caught.value) == expected
    assert not (tmp_path / "out").exists()


def test_inputs_that_do_not_exist_or_hold_nothing_are_named(parser: Parser, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, expected in (
        (tmp_path / "nothing.jpg", "no such image or folder"),
        (tmp_path / "empty", "no images in it (.jpg, "),
    ):
        with pytest.raises(DatasetError) as caught:
            predict_files(parser, HELEN, [path], tmp_path / "out")
        assert str(caught.value).startswith(f"{path}: {expected}")
    assert names(tmp_path) == {"empty"}


def test_a_dataset_is_not_written_into(parser: Parser, own_faces: Path) -> None:
    before = {path: path.read_bytes() for path in own_faces.rglob("*") if path.is_file()}
    with pytest.raises(OutputError) as caught:
        predict_files(parser, HELEN, [own_faces / "images"], own_faces)
    expected = "holds a dataset, whose labels would be overwritten; choose another --output"
    assert str(caught.value) == f"{own_faces}: {expected}"
    assert {path: path.read_bytes() for path in own_faces.rglob("*") if path.is_file()} == before


def test_an_output_that_is_a_file_is_refused(parser: Parser, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"^cannot write .*/out: File exists; free space or choose another place$"):
        predict_files(parser, HELEN, [photographs], tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
