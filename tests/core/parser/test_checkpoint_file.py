"""Checkpoints are read from files of ours and of the released code; files that are none are refused."""

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from faceparse.core.errors import CheckpointError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.abn import ActivatedBatchNorm, inplace_abn_problem
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.parser.checkpoint_file import Checkpoint, label_set_of_size, load_model, read_checkpoint
from faceparse.core.parser.initialise import initialise
from faceparse.core.training.run import RunResult
from tests.core.parser.small import CPU, SaveTensors, one_line, packed, small, small_settings


@pytest.mark.parametrize("wrap", [False, True])
def test_the_prefix_of_data_parallel_is_dropped(stub: dict[str, Tensor], save_tensors: SaveTensors, wrap: bool) -> None:
    expected = read_checkpoint(save_tensors(stub)).weights
    state: dict[str, object] = {f"module.{key}": tensor for key, tensor in stub.items()}
    found = read_checkpoint(save_tensors({"epoch": 3, "state_dict": state} if wrap else state)).weights
    assert list(found) == list(expected)
    assert len(found) == 740
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_file_in_the_format_before_torch_1_6_is_read(stub: dict[str, Tensor], save_tensors: SaveTensors) -> None:
    expected = read_checkpoint(save_tensors(stub)).weights
    found = read_checkpoint(save_tensors(stub, _use_new_zipfile_serialization=False)).weights
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(("classes", "name"), [(11, "helen"), (19, "celebamask-hq"), (7, "7-classes")])
def test_the_class_count_chooses_the_label_set(
    stub: dict[str, Tensor], save_tensors: SaveTensors, classes: int, name: str
) -> None:
    stub["layer6.conv4.weight"] = torch.zeros(classes, 256, 1, 1)
    checkpoint = read_checkpoint(save_tensors(stub))
    assert checkpoint.label_set.name == name
    assert len(checkpoint.label_set) == checkpoint.settings.data.num_classes == classes
    assert checkpoint.settings.data.channel_order == "bgr"


def test_unknown_class_counts_get_numbered_names_and_different_colours() -> None:
    label_set = label_set_of_size(255)
    assert label_set.names[:3] == ("background", "class_1", "class_2")
    assert len({tuple(colour) for colour in label_set.palette().tolist()}) == 255


def test_our_checkpoint_holds_all_that_using_it_takes(own: tuple[EAGRNet, Path]) -> None:
    model, path = own
    checkpoint = read_checkpoint(path)
    assert checkpoint.settings == small_settings()
    assert checkpoint.label_set == get_label_set("helen")
    found = (checkpoint.origin, checkpoint.epoch, checkpoint.run_id, checkpoint.tracking_uri, checkpoint.scores)
    assert found == ("faceparse", 3, "abc", "sqlite:////tmp/x.db", {"f1_mean": 0.25})
    image = torch.randn(2, 3, 33, 40)
    with torch.inference_mode():
        for ours, theirs in zip(load_model(checkpoint, CPU)(image), model(image), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
def test_the_stored_norm_does_not_bind_the_reader(save_tensors: SaveTensors) -> None:
    model = small(norm="inplace_abn").eval()
    content = packed(model)
    content["settings"]["model"]["norm"] = "inplace_abn"  # type: ignore[index]
    checkpoint = read_checkpoint(save_tensors(content))
    assert checkpoint.settings.model.norm == "inplace_abn"
    image = torch.randn(1, 3, 33, 40)
    loaded = load_model(checkpoint, CPU)
    assert isinstance(loaded.decoder.deep.norm, ActivatedBatchNorm)
    torch.testing.assert_close(loaded(image).parsing, model(image).parsing, rtol=1e-4, atol=1e-5)


class RunsCode:
    """What unpickles as a shell command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {self.marker}",)


REFUSED = "refused, the file holds code or objects beside tensors; save a plain state_dict instead"


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_weights_file_is_refused_and_not_run(tmp_path: Path, save_tensors: SaveTensors, zipped: bool) -> None:
    marker = tmp_path / "marker"
    content = {"layer6.conv4.weight": torch.zeros(11, 1), "x": RunsCode(marker)}
    path = save_tensors(content, _use_new_zipfile_serialization=zipped)
    for read in (read_checkpoint, lambda path: initialise(small(), path, "resnet18")):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert one_line(caught.value, path) == f"{path}: {REFUSED}"
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the trap is a real one
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_plain_pickle_is_not_run(tmp_path: Path, protocol: int, recwarn: pytest.WarningsRecorder) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(RunsCode(marker), protocol))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    one_line(caught.value, path)
    assert not marker.exists()
    assert not recwarn.list
    pickle.loads(path.read_bytes())
    assert marker.exists()


def test_a_pickled_model_is_refused(save_tensors: SaveTensors) -> None:
    path = save_tensors(nn.Linear(2, 2))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert one_line(caught.value, path) == f"{path}: {REFUSED}"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999, 1])
def test_a_truncated_file_is_called_so(save_tensors: SaveTensors, zipped: bool, share: float) -> None:
    tensors = {f"layer{i}.weight": torch.randn(10, 10) for i in range(20)}
    path = save_tensors(tensors, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = one_line(caught.value, path)
    assert "damaged" in message
    assert message.endswith("copy or download it again")


def test_no_length_of_a_truncated_header_escapes(save_tensors: SaveTensors) -> None:
    path = save_tensors({"a": torch.zeros(3)}, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        one_line(caught.value, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"hello\n",
        b"<!DOCTYPE html><title>404</title>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" * 50,
    ],
    ids=["empty", "json", "text", "html", "png", "zip"],
)
def test_a_file_of_another_kind_is_not_called_dangerous(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = one_line(caught.value, path)
    assert "refused" not in message
    assert message.endswith("copy or download it again")


def test_a_folder_or_nothing_at_all_is_no_checkpoint(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path, f"is a folder; give a checkpoint in it, such as {tmp_path / 'best.pth'}"),
        (tmp_path / "nothing.pth", "no such checkpoint file"),
    ):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "holds a list, not a state_dict"),
        (torch.zeros(2), "holds a Tensor, not a state_dict"),
        ({}, "not a state_dict of tensors; save model.state_dict() itself"),
        ({0: torch.zeros(2)}, "not a state_dict of tensors; save model.state_dict() itself"),
        ({"a": torch.zeros(2), "epoch": 3}, "not a state_dict of tensors; save model.state_dict() itself"),
        (
            {"a": torch.zeros(2)},
            "not a face-parsing checkpoint (no key 'layer6.conv4.weight'); give best.pth or last.pth",
        ),
    ],
    ids=["list", "tensor", "empty", "numbered", "mixed", "other"],
)
def test_weights_of_something_else_are_refused(save_tensors: SaveTensors, content: object, expected: str) -> None:
    path = save_tensors(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert one_line(caught.value, path) == f"{path}: {expected}"


def test_a_checkpoint_in_memory_needs_no_file() -> None:
    model = small().eval()
    checkpoint = Checkpoint(
        path=Path("memory"), settings=small_settings(), label_set=get_label_set("helen"), weights=model.state_dict()
    )
    image = torch.randn(1, 3, 33, 33)
    assert torch.equal(load_model(checkpoint, CPU)(image).edge, model(image).edge)


def test_a_checkpoint_knows_where_faces_lie_in_its_training_pictures(trained: RunResult, tmp_path: Path) -> None:
    geometry = read_checkpoint(trained.best).geometry
    assert geometry is not None
    assert geometry.count == 12
    (left, _), (right, _), *_ = geometry.centres
    assert 0.2 < left < 0.5 < right < 0.8
    content = torch.load(trained.best, weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "geometry"}, tmp_path / "old.pth")
    assert read_checkpoint(tmp_path / "old.pth").geometry is None
    torch.save(content | {"geometry": {"centres": "here"}}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad.pth: damaged checkpoint, geometry: .*; copy it again"):
        read_checkpoint(tmp_path / "bad.pth")


def test_weights_that_are_no_numbers_are_refused(save_tensors: SaveTensors) -> None:
    content = packed(small())
    next(iter(content["model"].values())).fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"key '.*' holds what is no number; take another checkpoint$"):
        read_checkpoint(save_tensors(content))
