import dataclasses
import inspect
import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import faceparse
from faceparse.core.errors import CheckpointError, DatasetError, DeviceError, SettingsError
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.settings import DataSettings
from faceparse.core.training.run import RunResult
from tests.conftest import Bands

HELEN = get_label_set("helen")


@pytest.fixture
def bands() -> faceparse.FaceParser:
    """Eleven classes from dark to bright."""
    network = ParsingNetwork(Bands(), DataSettings(input_size=(65, 65)))  # type: ignore[arg-type]
    return faceparse.FaceParser(Parser(network, torch.device("cpu")), HELEN)


@pytest.fixture
def photograph() -> np.ndarray:
    """H x W: 60 x 90, brighter to the right."""
    return np.tile(np.linspace(0, 255, 90).astype(np.uint8), (60, 1))[..., None].repeat(3, axis=2)


@pytest.fixture
def result(bands: faceparse.FaceParser, photograph: np.ndarray) -> faceparse.Result:
    return bands.predict(photograph)


def test_labels_follow_the_photograph(result: faceparse.Result, photograph: np.ndarray) -> None:
    assert (result.labels.shape, result.labels.dtype) == ((60, 90), np.uint8)
    middle = result.labels[30].astype(int)
    assert (np.diff(middle) >= 0).all()
    assert len(set(middle)) > 5
    assert np.array_equal(result.image, photograph)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "pillow", "array"])
def test_a_photograph_may_come_in_any_form(
    bands: faceparse.FaceParser, photograph: np.ndarray, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photograph).save(path)
    source = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "pillow": Image.open(path),
        "array": photograph,
    }[kind]
    assert np.array_equal(bands.predict(source).labels, bands.predict(photograph).labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["grey of 16 bits", "transparent", "animated"])
def test_all_forms_give_one_picture(bands: faceparse.FaceParser, photograph: np.ndarray, kind: str) -> None:
    buffer = io.BytesIO()
    if kind == "grey of 16 bits":
        Image.fromarray(photograph[..., 0].astype(np.uint16) * 256).save(buffer, "PNG")
    elif kind == "transparent":
        alpha = np.where(np.arange(90) < 30, 0, 255).astype(np.uint8)[None].repeat(60, axis=0)
        Image.fromarray(np.dstack([255 - photograph, alpha])).save(buffer, "PNG")
    else:
        Image.fromarray(photograph).save(
            buffer, "PNG", save_all=True, append_images=[Image.fromarray(255 - photograph)]
        )
    by_file, by_pillow = (bands.predict(source) for source in (buffer.getvalue(), Image.open(buffer)))
    assert np.array_equal(by_file.labels, by_pillow.labels)
    assert np.array_equal(by_file.image, by_pillow.image)
    assert by_file.notice == by_pillow.notice
    if kind == "transparent":
        assert not by_file.labels[:, :30].any()
        assert by_file.labels[:, 30:].any()
        assert (by_file.probabilities[0, :, :30] == 1).all()
        assert not by_file.cut_out()[:, :30].any()
        assert not by_file.alpha()[:, :30].any()
        assert by_file.alpha()[:, 30:].any()
    else:
        assert np.array_equal(by_file.labels, bands.predict(photograph).labels)
    assert by_file.notice == ("holds 2 pictures; only the first is taken" if kind == "animated" else "")


def test_a_turned_photograph_is_turned_upright_in_every_form(
    bands: faceparse.FaceParser, photograph: np.ndarray, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, "JPEG", exif=exif)
    shapes = {bands.predict(source).labels.shape for source in (buffer.getvalue(), Image.open(buffer))}
    assert shapes == {(90, 60)}


@pytest.mark.parametrize("kind", ["path", "bytes", "pillow", "array"])
def test_a_vast_photograph_is_refused_in_every_form(
    bands: faceparse.FaceParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("faceparse.core.images.opening.MAX_PIXELS", 10_000)
    path = tmp_path / "photo.png"
    Image.new("1", (101, 100)).save(path)
    array = np.zeros((100, 101, 3), np.uint8)
    source = {"path": path, "bytes": path.read_bytes(), "pillow": Image.open(path), "array": array}[kind]
    with pytest.raises(DatasetError, match=r": more than 0 megapixels; make it smaller$"):
        bands.predict(source)  # type: ignore[arg-type]


def test_what_is_no_photograph_is_named(bands: faceparse.FaceParser) -> None:
    with pytest.raises(DatasetError) as caught:
        bands.predict(None)  # type: ignore[arg-type]
    assert str(caught.value) == "image: a NoneType; give an array, a PIL picture, bytes, or a file's path"


def test_opacity_name_and_input_size_are_checked(result: faceparse.Result, trained: RunResult, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^opacity = 2: "):
        result.overlay(opacity=2)
    with pytest.raises(SettingsError, match=r"labels\.jpg: labels are saved as PNG"):
        result.save(tmp_path / "labels.jpg")
    assert not list(tmp_path.glob("labels*"))
    with pytest.raises(SettingsError, match=r"data\.input_size"):
        faceparse.load(trained.best, input_size=(3, 3))


def test_probabilities_are_those_of_the_crop_at_the_photographs_place(result: faceparse.Result) -> None:
    probabilities = result.probabilities
    assert (probabilities.shape, probabilities.dtype) == ((11, 60, 90), np.float32)
    assert np.abs(probabilities.sum(axis=0) - 1).max() < 1e-5
    # The labels are the crop's, nearest; the probabilities are bilinear: they part along borders only.
    differ = probabilities.argmax(axis=0) != result.labels
    square = np.ones((5, 5), np.uint8)
    border = cv2.dilate(result.labels, square) != cv2.erode(result.labels, square)
    assert not (differ & ~border).any()
    assert not border.all()
    assert result.probabilities is probabilities


def test_masks_areas_and_cut_outs_are_the_labels(result: faceparse.Result) -> None:
    labels = result.labels
    present = np.unique(labels)
    assert {name: int((labels == i).sum()) for i, name in enumerate(HELEN.names) if i in present} == result.areas()
    assert np.array_equal(result.mask("skin"), labels == 1)
    brows = HELEN.ids(HELEN.merged["brows"])
    assert np.array_equal(result.mask("brows", "nose"), np.isin(labels, [*brows, HELEN.names.index("nose")]))
    alpha = result.alpha("skin")
    assert (alpha.dtype, alpha.shape) == (np.uint8, labels.shape)
    (crop,), (answer,) = result._crops, result._answers
    assert np.array_equal(alpha, matte(result.image, [softmax(answer)], [crop], result.owner, [1]))
    cut = result.cut_out("skin")
    assert np.array_equal(cut[..., 3] > 0, labels == 1)
    assert np.array_equal(result.cut_out()[..., 3] > 0, labels > 0)
    overlay = result.overlay(opacity=1)
    assert np.array_equal(overlay[labels > 0], HELEN.palette()[labels[labels > 0]])
    assert np.array_equal(overlay[labels == 0], result.image[labels == 0])


def test_polygons_filled_again_are_the_masks(result: faceparse.Result) -> None:
    found = result.polygons()
    assert list(found) == [name for name in result.areas() if name != "background"]
    for name, rings in found.items():
        inside = np.zeros((60, 90), int)
        for ring in rings:
            for y in range(60):
                for x in range(90):
                    inside[y, x] += cv2.pointPolygonTest(ring.astype(np.float32), (x + 0.5, y + 0.5), False) > 0
        assert np.array_equal(inside % 2 == 1, result.mask(name))


def test_an_unknown_class_is_answered_with_the_nearest(result: faceparse.Result) -> None:
    with pytest.raises(SettingsError, match="class 'har': not in helen .*; did you mean 'hair'?"):
        result.mask("har")


def test_labels_are_saved_with_their_ids(result: faceparse.Result, tmp_path: Path) -> None:
    result.save(tmp_path / "labels.png")
    assert np.array_equal(read_label(tmp_path / "labels.png"), result.labels)


def test_a_batch_is_its_photographs_one_by_one(bands: faceparse.FaceParser, photograph: np.ndarray) -> None:
    photographs = [photograph, photograph[:, ::-1].copy(), photograph[:30]]
    for one, photo in zip(bands.predict_batch(photographs), photographs, strict=True):
        assert np.array_equal(one.labels, bands.predict(photo).labels)
    assert bands.predict_batch([]) == []


def test_a_parser_says_what_it_is(trained: RunResult) -> None:
    shown = repr(faceparse.load(trained.best, device="cpu"))
    assert shown == f"<FaceParser of {trained.best}: 11 classes of helen, 64 x 64, on cpu>"


def test_every_kind_of_model_is_loaded_by_one_call(trained: RunResult, bundle: Path, faces: Path) -> None:
    photo = next((faces / "images").iterdir())
    by_checkpoint, by_bundle = (faceparse.load(source, device="cpu") for source in (trained.best, str(bundle)))
    assert by_checkpoint.names == by_bundle.names == HELEN.names
    assert by_checkpoint.input_size == by_bundle.input_size == (64, 64)
    assert (by_checkpoint.predict(photo).labels == by_bundle.predict(photo).labels).mean() > 0.99
    assert faceparse.load(trained.best, input_size=(96, 80)).input_size == (96, 80)
    assert by_bundle.device.type == "cpu"
    assert by_bundle.predict(photo).labels.shape == read_image(photo).shape[:2]


def test_the_shipped_model_is_the_default_and_the_library_says_nothing(
    shipped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    parser = faceparse.load(device="cpu")
    assert len(parser.names) == 19
    assert inspect.signature(faceparse.load).parameters["source"].default == DEFAULT
    assert capfd.readouterr() == ("", "")
    assert not (shipped.parent / "cache").exists()


def test_mistakes_are_one_line(trained: RunResult, tmp_path: Path, bands: faceparse.FaceParser) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        faceparse.load(tmp_path / "missing.pth")
    with pytest.raises(DeviceError, match="device 'tpu': not one of"):
        faceparse.load(trained.best, device="tpu")
    with pytest.raises(DatasetError, match=r"image: an array of float64 and shape \(4, 4, 3\); give H x W x 3 uint8"):
        bands.predict(np.zeros((4, 4, 3)))
    with pytest.raises(DatasetError, match="image: not a readable image"):
        bands.predict(b"no picture")


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, faceparse; print('torch' in sys.modules, faceparse.__version__ != '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        faceparse.lod  # noqa: B018


def test_odd_arguments_are_one_line(bands: faceparse.FaceParser, photograph: np.ndarray) -> None:
    with pytest.raises(DatasetError, match=r"^image: has no pixels; give another picture$"):
        bands.predict(Image.new("RGB", (0, 5)))
    for images in (None, "photo.jpg", 3):
        with pytest.raises(DatasetError, match=rf"^images: a {type(images).__name__}; give a list of photographs$"):
            bands.predict_batch(images)  # type: ignore[arg-type]
    assert len(bands.predict_batch(np.stack([photograph, photograph]))) == 2  # type: ignore[arg-type]
    for given in ("a", None):
        with pytest.raises(SettingsError, match=rf"^min_face {given!r}: a share of the picture's height"):
            faceparse.load(min_face=given)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="device None: not one of auto, cpu"):
        faceparse.load(device=None)  # type: ignore[arg-type]


def test_a_result_keeps_its_photograph_when_the_caller_s_array_changes(
    bands: faceparse.FaceParser, photograph: np.ndarray
) -> None:
    """Frame loops fill one array again and again."""
    frame = photograph.copy()
    result = bands.predict(frame)
    frame[:] = 0
    assert np.array_equal(result.image, photograph)


def test_uncertainty_is_the_mean_entropy_where_there_is_no_background(
    bands: faceparse.FaceParser, photograph: np.ndarray
) -> None:
    result = bands.predict(photograph)
    [answer] = result._answers
    total, pixels = 0.0, 0
    for y, x in np.ndindex(answer.shape[1:]):
        powers = np.exp(answer[:, y, x].astype(float))
        shares = powers / powers.sum()
        if shares.argmax() != 0:
            total -= float((shares * np.log(shares)).sum())
            pixels += 1
    assert 0 < pixels < answer[0].size
    assert result.uncertainty == pytest.approx(total / pixels / np.log(11), rel=1e-4)
    black = bands.predict(np.zeros_like(photograph))
    assert not black.labels.any()
    assert black.uncertainty == 1


def test_a_photograph_without_a_face_is_as_uncertain_as_can_be(result: faceparse.Result) -> None:
    assert dataclasses.replace(result, faces=(), _crops=(), _answers=()).uncertainty == 1
