import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import faceparse
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.runtime.onnx_model import OnnxModel
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.serving.answers import answer
from tests.core.faces.test_finder import draw_face as draw_parts
from tests.core.prediction.painted import painted_onnx

FACE = draw_face(np.random.default_rng(5), 150).image
JPEG = encode_jpeg(FACE)


@pytest.fixture(scope="module")
def model(bundle: Path) -> OnnxModel:
    return open_onnx(bundle / "model.onnx")


def turned(orientation: int) -> bytes:
    """A JPEG that is to be shown turned, and is not square."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(FACE[:, :101]).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "photograph",
    [JPEG, encode_png(FACE[:37, :149]), encode_png(FACE[:1, :5]), turned(1), turned(3), turned(6), turned(8)],
    ids=["jpeg", "wide", "tiny", "upright", "upside-down", "right", "left"],
)
def test_the_label_map_is_that_of_the_python_interface(model: OnnxModel, bundle: Path, photograph: bytes) -> None:
    expected = faceparse.load(bundle, device="cpu").predict(photograph)
    (one,) = answer(model, [photograph])
    with Image.open(io.BytesIO(base64.b64decode(one["labels"]))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "P")
        labels, palette = np.array(picture), picture.getpalette()
    assert np.array_equal(labels, expected.labels)
    assert palette is not None
    assert palette[:33] == expected.label_set.palette().ravel().tolist()
    assert one["classes"] == list(expected.label_set.names)
    assert one["areas"] == {name: int((labels == i).sum()) for i, name in enumerate(one["classes"]) if i in labels}


def test_an_animation_gives_its_first_picture_and_says_so(model: OnnxModel) -> None:
    buffer = io.BytesIO()
    first, second = Image.fromarray(FACE), Image.fromarray(FACE[::-1].copy())
    first.save(buffer, "PNG", save_all=True, append_images=[second])
    animation, still = answer(model, [buffer.getvalue(), encode_png(FACE)])
    assert animation.pop("notice") == "holds 2 pictures; only the first is taken"
    assert still.pop("notice") == ""
    assert animation == still


def test_text_is_base64_however_it_is_wrapped(model: OnnxModel) -> None:
    by_bytes = answer(model, [JPEG, bytearray(JPEG)])
    text = base64.b64encode(JPEG).decode()
    assert by_bytes == answer(model, [text, base64.encodebytes(JPEG).decode()])
    assert by_bytes[0] == by_bytes[1]


def test_a_photographs_answer_does_not_depend_on_the_others(model: OnnxModel) -> None:
    photographs = [JPEG, turned(6), encode_png(FACE[:20])]
    assert answer(model, photographs) == [answer(model, [photograph])[0] for photograph in photographs]
    assert answer(model, []) == []


@pytest.mark.parametrize(
    ("photograph", "problem"),
    [
        (b"no picture", "image 1: not a readable image; replace the file"),
        (b"", "image 1: not a readable image; replace the file"),
        (JPEG[:-300], "image 1: truncated JPEG; replace the file"),
        ("what?", "image 1: not base64; give a picture file's bytes in base64"),
        ("ä", "image 1: not base64; give a picture file's bytes in base64"),
        ("bm8=", "image 1: not a readable image; replace the file"),
        (None, "image 1: a NoneType; give a picture file's bytes, or their base64"),
        (3.5, "image 1: a float; give a picture file's bytes, or their base64"),
    ],
)
def test_what_is_no_photograph_is_named_in_one_line(model: OnnxModel, photograph: object, problem: str) -> None:
    with pytest.raises(DatasetError) as caught:
        answer(model, [JPEG, photograph])
    assert str(caught.value) == problem


def test_a_photograph_too_large_is_refused_before_it_is_decoded(
    model: OnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceparse.core.images.opening.MAX_PIXELS", 150 * 150 - 1)
    monkeypatch.setattr("faceparse.core.images.read_photograph.decode_image", None)
    with pytest.raises(DatasetError, match=r"^image 0: more than 0 megapixels; make it smaller$"):
        answer(model, [JPEG])


@pytest.mark.parametrize("sizes", ["any", "fixed"])
@pytest.mark.parametrize("kind", ["logits", "labels"])
def test_faces_are_found_as_the_python_interface_finds_them(tmp_path: Path, kind: str, sizes: str) -> None:
    path = painted_onnx(tmp_path / "painted.onnx", kind, sizes)  # type: ignore[arg-type]
    picture = np.full((300, 420, 3), 90, np.uint8)
    drawn = [draw_parts(picture, 120, 140, 160, 20), draw_parts(picture, 320, 160, 120, -30)]
    served, photograph = open_onnx(path), encode_png(picture)
    (found,) = answer(served, [photograph])
    expected = faceparse.load(path, device="cpu").predict(picture)
    with Image.open(io.BytesIO(base64.b64decode(found["labels"]))) as image:
        assert (np.array(image) == expected.labels).mean() > 0.999  # faces lie alike, but for rounding
    assert expected.faces is not None
    assert len(found["faces"]) == len(expected.faces) == 2
    for one, other in zip(found["faces"], expected.faces, strict=True):
        np.testing.assert_allclose(one["box"], other.box, atol=0.1)
        np.testing.assert_allclose(one["points"], other.points, atol=0.1)
        assert one["score"] == pytest.approx(other.score, abs=1e-3)
        assert min(np.linalg.norm(np.array(one["points"][:3]) - centres[:3], axis=1).mean() for centres in drawn) < 6
    (whole,) = answer(served, [photograph], faces="none")
    assert whole["faces"] is None
    assert "skin" in whole["areas"]
    assert whole["areas"]["skin"] > found["areas"]["skin"]


def test_a_photograph_without_faces_is_background(tmp_path: Path) -> None:
    (found,) = answer(
        open_onnx(painted_onnx(tmp_path / "painted.onnx")), [encode_png(np.full((70, 90, 3), 90, np.uint8))]
    )
    assert (found["faces"], found["areas"]) == ([], {"background": 70 * 90})


def test_faces_are_auto_or_none(model: OnnxModel) -> None:
    with pytest.raises(SettingsError, match=r"^faces = 'all': write auto or none$"):
        answer(model, [JPEG], faces="all")
