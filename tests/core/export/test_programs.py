import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.export import programs
from faceparse.core.export.graph import Graph

CPU = torch.device("cpu")
METADATA = {"kind": "logits", "note": "ä"}


@pytest.mark.parametrize(
    ("write", "run"),
    [
        (programs.write_program, programs.run_program),
        (programs.write_torchscript, programs.run_torchscript),
    ],
    ids=["pt2", "torchscript"],
)
def test_a_program_computes_what_the_module_does(
    graph: Graph,
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[..., None],
    run: Callable[[Path, torch.device], Callable[[Tensor], Tensor]],
) -> None:
    path = tmp_path / "program"
    with path.open("wb") as file:
        write(graph, METADATA, file)
    with monkeypatch.context() as patch:  # what it says of itself is read without loading it
        patch.setattr(torch.jit, "load", None)
        patch.setattr(torch.export, "load", None)
        assert programs.read_program_metadata(path) == METADATA
    program = run(path, CPU)
    with torch.inference_mode():
        for batch in (1, 2, 5):
            torch.testing.assert_close(program(images[:batch]), graph.module(images[:batch]))


class Touch:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def in_the_weights(parts: dict[str, bytes], payload: bytes) -> None:
    config = json.loads(parts["data/weights/model_weights_config.json"])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    parts["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    parts[f"data/weights/{first['path_name']}"] = payload


def in_the_constants(parts: dict[str, bytes], payload: bytes) -> None:
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    parts["data/constants/model_constants_config.json"] = json.dumps({"config": {"x": entry}}).encode()
    parts["data/constants/opaque_obj_0"] = payload


def as_once(parts: dict[str, bytes], payload: bytes) -> None:
    parts["data/weights/model.pt"] = payload


@pytest.mark.parametrize("poison", [in_the_weights, in_the_constants, as_once])
def test_a_pickle_in_a_program_is_refused_and_not_run(
    graph: Graph, tmp_path: Path, poison: Callable[[dict[str, bytes], bytes], None]
) -> None:
    path, mark = tmp_path / "program.pt2", tmp_path / "mark"
    with path.open("wb") as file:
        programs.write_program(graph, METADATA, file)
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        root = archive.namelist()[0].partition("/")[0]
    poison(parts, pickle.dumps(Touch(mark)))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(f"{root}/{name}", content)
    with pytest.raises(CheckpointError, match=r"its part '.*' was not written by 'faceparse export'; export "):
        programs.run_program(path, CPU)
    assert not mark.exists()
