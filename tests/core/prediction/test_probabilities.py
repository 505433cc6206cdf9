from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from faceparse.core.faces.face import Face
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction import probabilities
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.parsed_photographs import PhotographParser
from faceparse.core.prediction.saved_photographs import saved_photographs
from faceparse.core.prediction.saving import Outputs

HELEN = get_label_set("helen")


def saved(parser: Parser, path: Path, faces: list[Face] | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and the label map."""
    outputs = Outputs(Path("out"), HELEN, ("labels", "probabilities"), (1,), "best.pth")
    finder = None if faces is None else lambda where, image: faces
    (_,) = saved_photographs(PhotographParser(parser, finder), [Source(str(path), "a")], outputs)
    label = np.array(Image.open("out/labels/a.png"))
    return np.load("out/probabilities/a.npy", mmap_mode="r"), label


@pytest.mark.parametrize(
    "shown", [None, [Face((10, 10, 30, 30)), Face((36, 36, 24, 24))], []], ids=["whole", "two", "no"]
)
def test_the_likeliest_class_is_the_label(parser: Parser, photographs: Path, shown: list[Face] | None) -> None:
    found, label = saved(parser, photographs / "a.jpg", shown)
    assert found.dtype == np.float16
    assert found.shape == (11, *label.shape)
    assert np.abs(found.astype(float).sum(axis=0) - 1).max() < 0.01
    # Half precision may make two classes equal.
    assert np.mean(found.argmax(axis=0) == label) > 0.99
    at_label = np.take_along_axis(found, label[None].astype(np.int64), axis=0)[0]
    assert (found.max(axis=0) - at_label).max() < 0.02
    assert shown == [] or len(np.unique(label)) > 3


def test_a_whole_crop_has_the_networks_own_probabilities(parser: Parser, faces: Path) -> None:
    """A photograph of the network's input size needs no interpolation."""
    image = read_image(next((faces / "images").iterdir()))[:64, :64]
    Path("crop.png").write_bytes(encode_png(image))
    found, _ = saved(parser, Path("crop.png"), None)
    expected = parser.logits(torch.from_numpy(image[None])).softmax(dim=1)[0].numpy()
    assert np.abs(found - expected).max() < 2e-3


def test_bands_of_rows_fit_together(parser: Parser, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = [Face((10, 10, 30, 30)), Face((36, 36, 24, 24))]
    whole = np.array(saved(parser, photographs / "a.jpg", faces)[0])
    monkeypatch.setattr(probabilities, "BAND", 1)
    assert np.abs(np.array(saved(parser, photographs / "a.jpg", faces)[0]) - whole).max() < 1e-3


def test_transparent_pixels_are_background(parser: Parser, photographs: Path) -> None:
    image = read_image(photographs / "a.jpg")
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:20] = 0
    Path("clear.png").write_bytes(encode_png(np.dstack([image, alpha])))
    found, label = saved(parser, Path("clear.png"), None)
    assert (found[0, :20] == 1).all()
    assert not found[1:, :20].any()
    assert label[20:].any()
