"""The bundle without PyTorch gives what it gives with it."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import faceparse
from faceparse.core.datasets.faces import draw_face
from faceparse.core.errors import CheckpointError
from faceparse.core.export.export import Exporter
from faceparse.core.model.weights import read_checkpoint
from faceparse.core.serving.onnx_model import open_onnx
from faceparse.core.training.run import RunResult

FACE = draw_face(np.random.default_rng(3), 200).image


@pytest.mark.parametrize("size", [(200, 200), (64, 64), (1, 1), (7, 190), (199, 3), (51, 77)])
def test_labels_are_those_of_the_python_interface(bundle: Path, size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(FACE[: size[0], : size[1]])
    found = open_onnx(bundle / "model.onnx").parse(image)
    assert (found.shape, found.dtype) == (size, np.uint8)
    assert np.array_equal(found, faceparse.load(bundle, device="cpu").predict(image).labels)


def test_a_graph_with_its_preprocessing_inside_is_served_alike(trained: RunResult, tmp_path: Path) -> None:
    """And one that wants its channels in the other order."""
    checkpoint = read_checkpoint(trained.best)
    data = checkpoint.settings.data.model_copy(update={"channel_order": "bgr", "mean": (0.3, 0.5, 0.6)})
    checkpoint = dataclasses.replace(checkpoint, settings=checkpoint.settings.model_copy(update={"data": data}))
    inside = Exporter(checkpoint, kind="labels", input_size=(64, 48)).export("onnx", tmp_path / "labels.onnx").path
    model = open_onnx(inside)
    assert (model.kind, model.input_size, model.label_set) == ("labels", (64, 48), checkpoint.label_set)
    found = model.parse(FACE)
    assert np.array_equal(found, faceparse.load(inside, device="cpu").predict(FACE).labels)

    outside = tmp_path / "logits.onnx"
    Exporter(checkpoint, input_size=(64, 48)).export("onnx", outside)
    other = open_onnx(outside).parse(FACE)
    assert len(np.unique(other)) > 1
    assert (other == found).mean() > 0.99


def test_what_is_no_model_is_one_line(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))}: cannot be run \(.*\); export it again$"):
        open_onnx(path)
    model = onnx.load(bundle / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="was not written by this 'faceparse export'; export the checkpoint"):
        open_onnx(path)
