"""The bundle without PyTorch gives what it gives with it."""

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import faceparse
from faceparse.core.datasets.faces import draw_face
from faceparse.core.errors import CheckpointError
from faceparse.core.serving.onnx_model import open_onnx

FACE = draw_face(np.random.default_rng(3), 200).image


@pytest.mark.parametrize("size", [(200, 200), (64, 64), (1, 1), (7, 190), (199, 3), (51, 77)])
def test_labels_are_those_of_the_python_interface(bundle: Path, size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(FACE[: size[0], : size[1]])
    found = open_onnx(bundle / "model.onnx").parse(image)
    assert (found.shape, found.dtype) == (size, np.uint8)
    assert np.array_equal(found, faceparse.load(bundle, device="cpu").predict(image).labels)


def test_channels_go_in_the_order_that_the_file_says(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "bgr.onnx"
    model = onnx.load(bundle / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    settings = json.loads(metadata["settings"])
    settings["data"] |= {"channel_order": "bgr", "mean": [0.3, 0.5, 0.6]}
    changed = {"channel_order": "bgr", "mean": "[0.3, 0.5, 0.6]", "settings": json.dumps(settings)}
    onnx.helper.set_model_props(model, metadata | changed)
    onnx.save(model, path)
    found = open_onnx(path).parse(FACE)
    assert np.array_equal(found, faceparse.load(path, device="cpu").predict(FACE).labels)
    assert not np.array_equal(found, open_onnx(bundle / "model.onnx").parse(FACE))


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


@pytest.mark.parametrize("place", ["beside", "../outside", "absolute", "fifo", "/dev/zero"])
def test_no_other_file_is_opened_for_a_graphs_weights(bundle: Path, tmp_path: Path, place: str) -> None:
    """The largest weights lie where the graph says that they do; a FIFO would be waited for, a device never end."""
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    model = onnx.load(bundle / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    for name in ("model/beside", "outside", "absolute"):
        (tmp_path / name).write_bytes(tensor.raw_data)
    os.mkfifo(path.parent / "fifo")
    place = str(tmp_path / place) if place == "absolute" else place
    onnx.external_data_helper.set_external_data(tensor, place)
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"cannot be run \(.*\); export it again$"):
        open_onnx(path)
    with pytest.raises(CheckpointError, match=r"cannot be run \(.*\); export it again$"):
        faceparse.load(path, device="cpu")
