"""A safetensors file is a checkpoint: from `export` back to a network, and what is none of ours."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from faceparse.core.errors import CheckpointError
from faceparse.core.export.export import Exporter
from faceparse.core.export.exported import to_metadata
from faceparse.core.files.content import read_safetensors_metadata
from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.parser.initialise import initialise
from faceparse.core.parser.portable import pack_weights
from faceparse.core.runtime.licences import LICENCES
from faceparse.core.training.run import RunResult

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def half(trained: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's network. Not to be written to."""
    path = tmp_path_factory.mktemp("portable") / "best.safetensors"
    return Exporter(read_checkpoint(trained.best)).export("safetensors", path).path


def test_it_is_a_checkpoint_in_float32(half: Path, trained: RunResult) -> None:
    expected, found = read_checkpoint(trained.best), read_checkpoint(half)
    assert isinstance(found, Checkpoint)
    assert found.settings == expected.settings
    assert (found.label_set, found.epoch, found.scores) == (expected.label_set, expected.epoch, expected.scores)
    assert found.geometry == expected.geometry
    assert found.names_are_known
    assert (found.run_id, found.tracking_uri, found.training) == (None, None, None)
    assert found.weights.keys() == expected.weights.keys()
    for key, tensor in expected.weights.items():
        assert found.weights[key].dtype == tensor.dtype
        rounded = tensor.half().float() if tensor.dim() > 1 else tensor  # a norm's vectors are kept as they are
        torch.testing.assert_close(found.weights[key], rounded, rtol=0, atol=0)


def test_half_of_the_bytes_and_no_pickle(half: Path, trained: RunResult) -> None:
    assert half.stat().st_size < 0.55 * trained.best.stat().st_size
    stored = safetensors.torch.load_file(half)
    assert {tensor.dtype for tensor in stored.values() if tensor.dim() > 1} == {torch.float16}
    assert b"faceparse-checkpoint" not in half.read_bytes()


def test_it_takes_another_crop(half: Path) -> None:
    network = read_checkpoint(half).network(CPU, (96, 80))
    with torch.inference_mode():
        assert network(torch.zeros(1, 96, 80, 3, dtype=torch.uint8)).shape == (1, 11, 96, 80)


def test_training_starts_from_it(half: Path) -> None:
    checkpoint = read_checkpoint(half)
    model = build_model(checkpoint.settings.model, len(checkpoint.label_set))
    report = initialise(model, half, checkpoint.settings.model.backbone)
    assert str(report) == f"checkpoint: {len(checkpoint.weights)} tensors loaded"
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, checkpoint.weights[key], rtol=0, atol=0)


def test_a_released_network_s_guessed_names_stay_a_guess(half: Path, tmp_path: Path) -> None:
    weights = safetensors.torch.load_file(half)
    metadata = {**read_safetensors_metadata(half), "names_are_known": "false"}
    path = tmp_path / "released.safetensors"
    path.write_bytes(pack_weights(weights, metadata, half=True))
    assert not read_checkpoint(path).names_are_known


def test_terms_are_its_own_else_its_dataset_s(half: Path, trained: RunResult, light: Path, tmp_path: Path) -> None:
    assert read_checkpoint(trained.best).licence is None
    assert read_checkpoint(half).licence is None
    assert read_checkpoint(light / "model.safetensors").licence == LICENCES["celebamask-hq"]
    own = replace(read_checkpoint(half), own_licence="cc-by-4.0")
    path = tmp_path / "licensed.safetensors"
    path.write_bytes(pack_weights(own.weights, to_metadata(own, "logits", "fixed"), half=True))
    assert read_checkpoint(path).licence == "cc-by-4.0"


def spoilt(
    half: Path, path: Path, *, drop: str = "", rename: str = "", settings: object = None, crop: object = None
) -> Path:
    """A copy without a piece of metadata, with a tensor of another name, with other settings, or with another crop."""
    weights = safetensors.torch.load_file(half)
    metadata = dict(read_safetensors_metadata(half))
    metadata.pop(drop, None)
    if rename:
        weights["stranger"] = weights.pop(rename)
    if settings is not None:
        metadata["settings"] = json.dumps(settings)
    if crop is not None:
        known = json.loads(metadata["settings"])
        metadata["settings"] = json.dumps({**known, "data": {**known["data"], "input_size": crop}})
        metadata["input_size"] = json.dumps(crop)
    path.write_bytes(pack_weights(weights, metadata, half=False))
    return path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"drop": "faceparse"}, "was not written by this 'faceparse export'; export the checkpoint again"),
        ({"drop": "label_set"}, "its metadata lacks 'label_set'; export the checkpoint again"),
        ({"settings": {"model": {"wings": 2}}}, "its metadata is of another faceparse or damaged ("),
        (
            {"crop": [8192, 8192]},
            "its metadata is of another faceparse or damaged (settings.data.input_size.0: Input should be less than or "
            "equal to 2048); export the checkpoint again",
        ),
        (
            {"rename": "decoder.classify.bias"},
            "key 'decoder.classify.bias' is missing; the file is of another network",
        ),
    ],
    ids=str,
)
def test_what_is_not_ours_is_one_line(half: Path, tmp_path: Path, changes: dict[str, str], expected: str) -> None:
    path = spoilt(half, tmp_path / "other.safetensors", **changes)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path).network(CPU)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"garbage" * 100, "not a safetensors file, or a damaged one ("),
        (b"", "not a safetensors file, or a damaged one ("),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "a web page, not a model; download the file itself"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
            "a Git LFS pointer, not the model itself; run 'git lfs pull' where it is from",
        ),
    ],
    ids=["garbage", "empty", "page", "pointer"],
)
def test_what_is_no_such_file_is_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_short_is_one_line(half: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(half.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a safetensors file, or a damaged one"):
        read_checkpoint(path)


def relabelled(data: bytes, old: str, new: str) -> bytes:
    """The file with tensors of type `old` said to be of type `new`, and the same numbers."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode().replace(f'"dtype":"{old}"', f'"dtype":"{new}"').rstrip()
    padded = header.encode().ljust(-(-len(header.encode()) // 8) * 8)
    return len(padded).to_bytes(8, "little") + padded + data[8 + length :]


@pytest.mark.parametrize(
    ("old", "new", "name"), [("F16", "BF16", "bfloat16"), ("F16", "I16", "int16"), ("I64", "F64", "float64")]
)
def test_numbers_under_another_type_are_refused(half: Path, tmp_path: Path, old: str, new: str, name: str) -> None:
    path = tmp_path / "relabelled.safetensors"
    path.write_bytes(relabelled(half.read_bytes(), old, new))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert str(caught.value).endswith(f" is {name}, which 'faceparse export' never writes; export the checkpoint again")


def test_types_that_are_written_have_different_widths(half: Path) -> None:
    types = {tensor.dtype for tensor in safetensors.torch.load_file(half).values()}
    assert len({kind.itemsize for kind in types}) == len(types) == 3


def test_a_pickle_of_that_name_is_not_loaded(trained: RunResult, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(trained.best.read_bytes())
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_checkpoint(path)
