"""Files of strangers: whatever is in them, what comes out is an error of ours or a model.

Each campaign is seeded. A failure names the mutation that it takes to see it again.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from faceparse.core.errors import FaceparseError
from faceparse.core.export.exported import to_metadata
from faceparse.core.faces.finders_from_files import Boxes
from faceparse.core.images.matrices import read_matrix
from faceparse.core.labels.label_set import get_label_set, read_label_set
from faceparse.core.load import load_model_from
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.parser.portable import pack_weights
from faceparse.core.runs.directory import LAST
from faceparse.core.runs.tracking_record import read_tracking
from faceparse.core.runtime.checksums import write_sums
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.settings import read_settings, settings_from_dict, to_dict, to_toml
from faceparse.core.training.run_checkpoints import read_last
from faceparse.core.training.state import TrainerState, fitting_optimizer_state
from tests.core.prediction.painted import painted_onnx
from tests.mutations import changed_bytes, changed_fields

CPU = torch.device("cpu")
CROPS = np.zeros((1, 96, 96, 3), np.uint8)


def only_ours(read: Callable[[], object], what: object) -> bool:
    """Whether it was refused; any other exception fails the test."""
    try:
        read()
    except FaceparseError as error:
        assert len(str(error)) < 3000, what
        return True
    except Exception as error:
        pytest.fail(f"{what!r:.300}: {type(error).__name__}: {str(error)[:300]}")
    return False


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return painted_onnx(tmp_path_factory.mktemp("painted") / "painted.onnx")


def open_both(path: Path) -> None:
    """With PyTorch and without."""
    load_model_from(path).network(CPU)
    open_onnx(path).logits(CROPS)


def test_onnx_metadata(graph_file: Path, tmp_path: Path) -> None:
    model, path = onnx.load(graph_file), tmp_path / "m.onnx"
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    plain = {key: json.loads(text) if text[0] in "[{ntf" or text.isdigit() else text for key, text in metadata.items()}
    refused = 0
    for what, new in changed_fields(plain, 150):
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in new.items()}
        try:
            onnx.helper.set_model_props(model, texts)
        except (UnicodeEncodeError, ValueError):
            continue  # no file can hold it
        path.write_bytes(model.SerializeToString())
        refused += only_ours(lambda: (load_model_from(path), open_onnx(path)), what)
    assert refused > 60


@pytest.mark.parametrize(
    "change",
    ["input name", "second input", "second output", "input type", "output rank", "classes", "no nodes", "channels"],
)
def test_graphs_of_another_contract(graph_file: Path, tmp_path: Path, change: str) -> None:
    model, path = onnx.load(graph_file), tmp_path / "m.onnx"
    graph = model.graph
    if change == "input name":
        for node in graph.node:
            node.input[:] = ["picture" if name == "image" else name for name in node.input]
        graph.input[0].name = "picture"
    elif change in ("second input", "second output"):
        (graph.input if "input" in change else graph.output).add().CopyFrom(graph.input[0])
        if "input" in change:
            graph.input[1].name = "other"
    elif change == "input type":
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    elif change == "output rank":
        squeeze = onnx.helper.make_node("Flatten", [graph.output[0].name], ["flat"])
        graph.node.append(squeeze)
        del graph.output[:]
        graph.output.append(onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, None))
    elif change == "classes":
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        two = {"name": "two", "side": "none", "classes": {"a": "#000000", "b": "#ffffff"}}
        onnx.helper.set_model_props(model, metadata | {"label_set": json.dumps(two)})
    elif change == "no nodes":
        del graph.node[:]
    elif change == "channels":
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    path.write_bytes(model.SerializeToString())
    assert only_ours(lambda: load_model_from(path).network(CPU), change)
    assert only_ours(lambda: open_onnx(path).logits(CROPS), change)


def test_bytes_of_an_onnx_file(graph_file: Path, tmp_path: Path) -> None:
    data, path = graph_file.read_bytes(), tmp_path / "m.onnx"
    for number, new in enumerate(changed_bytes(data, 60)):
        path.write_bytes(new)
        only_ours(lambda: open_both(path), number)


SETTINGS = settings_from_dict({"data": {"label_set": "helen"}, "tracking": {"experiment": "x"}})


def small_checkpoint(training: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "format": "faceparse-checkpoint",
        "version": 1,
        "settings": to_dict(SETTINGS),
        "label_set": get_label_set("helen").to_toml(),
        "model": {"weight": torch.zeros(3, 4)},
        "epoch": 3,
        "scores": {"f1_mean": 0.5},
        "run_id": "a",
        "tracking_uri": "sqlite:///a.db",
        "geometry": None,
        "training": training,
    }


def trainer_state(make: Callable[..., Optimizer]) -> tuple[dict[str, Any], Optimizer]:
    model = nn.Conv2d(2, 3, 1)
    optimizer = make(model.parameters(), lr=0.1)
    model(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    state = {
        "optimizer": optimizer.state_dict(),
        "schedule": {"base_lrs": [0.1], "last_epoch": 1, "_step_count": 2, "_last_lr": [0.1], "lr_lambdas": [None]},
        "scaler": {},
        "weights": None,
        "iteration": 1,
        "epoch": {"done": 1, "lr": 0.1, "sums": torch.zeros(5)},
        "rng": torch.get_rng_state(),
    }
    return state, optimizer


TENSORS = (
    torch.zeros(0), torch.zeros(3, dtype=torch.complex64), torch.zeros(1).expand(2**40),
    torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (3,)),
)  # fmt: skip


@pytest.mark.parametrize("make", [SGD, AdamW])
def test_fields_of_a_checkpoint(tmp_path: Path, make: Callable[..., Optimizer]) -> None:
    """Whatever is let through can be used: an optimizer takes a step with it."""
    state, _ = trainer_state(make)
    content = small_checkpoint({"trainer": state, "best": {"score": 0.1, "epoch": 1}, "update_size": 4})
    refused = 0
    for what, new in changed_fields(content, 250, extra=TENSORS):
        torch.save(new, tmp_path / LAST)

        def use() -> None:
            checkpoint = read_last(tmp_path, warn=pytest.fail)
            assert checkpoint.training is not None
            saved = TrainerState.model_validate(checkpoint.training["trainer"])
            _, optimizer = trainer_state(make)
            try:
                optimizer.load_state_dict(fitting_optimizer_state(saved.optimizer, optimizer))
            except ValueError as error:  # the trainer names the file
                raise FaceparseError(str(error)) from None
            optimizer.step()

        refused += only_ours(use, what)
    assert refused > 120


def test_bytes_of_a_checkpoint(tmp_path: Path) -> None:
    buffer, path = io.BytesIO(), tmp_path / "best.pth"
    torch.save(small_checkpoint(), buffer)
    for number, new in enumerate(changed_bytes(buffer.getvalue(), 300)):
        path.write_bytes(new)
        only_ours(lambda: load_model_from(path), number)


def test_a_bundle_and_the_header_of_its_weights(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    weights = {"a.weight": torch.zeros(3, 4)}
    checkpoint = Checkpoint(path=file, settings=SETTINGS, label_set=get_label_set("helen"), weights=weights, epoch=3)
    data = pack_weights(weights, to_metadata(checkpoint, "logits", "fixed"), half=False)
    file.write_bytes(data)
    write_sums(tmp_path)
    assert isinstance(load_model_from(tmp_path), Checkpoint)
    for number, new in enumerate(changed_bytes((tmp_path / "SHA256SUMS").read_bytes(), 60)):
        (tmp_path / "SHA256SUMS").write_bytes(new)
        only_ours(lambda: load_model_from(tmp_path), number)
    (tmp_path / "SHA256SUMS").unlink()
    for number, new in enumerate(changed_bytes(data, 150)):
        file.write_bytes(new)
        write_sums(tmp_path)
        only_ours(lambda: load_model_from(tmp_path).network(CPU), number)
        (tmp_path / "SHA256SUMS").unlink()


def test_toml_files(tmp_path: Path) -> None:
    import tomli_w

    path = tmp_path / "a.toml"
    for text in (to_toml(SETTINGS), tomli_w.dumps(get_label_set("helen").to_toml())):
        for number, new in enumerate(changed_bytes(text.encode(), 150)):
            path.write_bytes(new)
            only_ours(lambda: read_settings(path), number)
            only_ours(lambda: read_label_set(path), number)
    for what, new in changed_fields(to_dict(SETTINGS), 200):
        only_ours(lambda new=new: settings_from_dict(new), what)  # type: ignore[misc]


def test_matrices_boxes_and_records(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.eye(2, 3))
    for number, new in enumerate(changed_bytes(buffer.getvalue(), 300, within=128)):
        (tmp_path / "a.npy").write_bytes(new)
        only_ours(lambda: read_matrix(tmp_path / "a.npy"), number)
    boxes = {"a.jpg": [{"box": [1, 2, 3, 4], "score": 0.5, "points": [[1, 2]] * 5}, [1, 2, 3, 4]]}
    for what, content in changed_fields(boxes, 100):
        (tmp_path / "a.json").write_text(json.dumps(content))
        only_ours(lambda: Boxes(tmp_path / "a.json"), what)
    for text in ("[" * 100_000, "[]", "{}", "1", '{"uri": 1}', "\ufeff{"):
        (tmp_path / "tracking.json").write_text(text)
        only_ours(lambda: read_tracking(tmp_path), text)
