"""The bundle without PyTorch gives what it gives with it."""

import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import faceparse
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import CheckpointError
from faceparse.core.faces.windows import ANY, fixed
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import Parser, load_parser
from faceparse.core.runtime.open_onnx import open_onnx
from tests.core.faces.test_finder import COLOURS
from tests.core.prediction.painted import HELEN, painted_onnx

CROPS = np.stack([draw_face(np.random.default_rng(seed), 64).image for seed in range(3)])


def parser_of(path: Path) -> Parser:
    """The same file by way of PyTorch."""
    return load_parser(load_model_from(path), torch.device("cpu"))


def test_logits_are_those_of_the_file_by_way_of_pytorch(bundle: Path) -> None:
    found = open_onnx(bundle / "model.onnx").logits(CROPS)
    assert (found.shape, found.dtype) == ((3, 11, 64, 64), np.float32)
    assert np.array_equal(found, parser_of(bundle).logits(torch.from_numpy(CROPS)).numpy())


@pytest.mark.parametrize("kind", ["logits", "labels"])
def test_part_maps_are_probabilities_at_a_quarter_of_the_size(tmp_path: Path, kind: str) -> None:
    path = painted_onnx(tmp_path / "painted.onnx", kind)  # type: ignore[arg-type]
    pictures = np.random.default_rng(1).choice(COLOURS, (2, 8, 12)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    parts = HELEN.part_ids()
    found = open_onnx(path).part_maps(pictures, parts)
    assert (found.shape, found.dtype) == ((2, 4, 16, 24), np.float32)
    np.testing.assert_allclose(found, parser_of(path).part_maps(pictures, parts), atol=1e-5)
    expected = (pictures[:, 1::4, 1::4, None] == COLOURS).all(axis=-1).transpose(0, 3, 1, 2)
    assert np.array_equal(found > 0.5, expected)
    assert kind == "logits" or found[expected].min() > 0.99  # who answers with labels is sure


def test_a_file_says_which_pictures_it_takes(tmp_path: Path, bundle: Path) -> None:
    assert open_onnx(painted_onnx(tmp_path / "any.onnx")).picture_sizes == ANY
    assert open_onnx(bundle / "model.onnx").picture_sizes == fixed((64, 64))


def test_damaged_geometry_is_one_line(bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(bundle / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, metadata | {"geometry": '{"centres": "here"}'})
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(
        CheckpointError, match=r"bad.onnx: its metadata is of another faceparse or damaged \(geometry: .*\); export"
    ):
        open_onnx(tmp_path / "bad.onnx")


def test_channels_go_in_the_order_that_the_file_says(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "bgr.onnx"
    model = onnx.load(bundle / "model.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    settings = json.loads(metadata["settings"])
    settings["data"] |= {"channel_order": "bgr", "mean": [0.3, 0.5, 0.6]}
    changed = {"channel_order": "bgr", "mean": "[0.3, 0.5, 0.6]", "settings": json.dumps(settings)}
    onnx.helper.set_model_props(model, metadata | changed)
    onnx.save(model, path)
    found = open_onnx(path).logits(CROPS)
    assert np.array_equal(found, parser_of(path).logits(torch.from_numpy(CROPS)).numpy())
    assert not np.allclose(found, open_onnx(bundle / "model.onnx").logits(CROPS))


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


def test_weights_that_are_no_numbers_give_no_labels(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load(bundle / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match=r"answers with what is no number \(nan or inf\)"):
        open_onnx(path).logits(CROPS)
    with pytest.raises(CheckpointError, match=r"answers with what is no number \(nan or inf\)"):
        faceparse.load(path, device="cpu").predict(CROPS[0])


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
