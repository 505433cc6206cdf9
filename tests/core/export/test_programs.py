from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

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
