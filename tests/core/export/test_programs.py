from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from faceparse.core.export import programs
from faceparse.core.export.graph import Graph

CPU = torch.device("cpu")
METADATA = {"kind": "logits", "note": "ä"}


@pytest.mark.parametrize(
    ("write", "read", "run"),
    [
        (programs.write_program, programs.read_program_metadata, programs.run_program),
        (programs.write_torchscript, programs.read_torchscript_metadata, programs.run_torchscript),
    ],
    ids=["pt2", "torchscript"],
)
def test_a_program_computes_what_the_module_does(
    graph: Graph,
    images: Tensor,
    tmp_path: Path,
    write: Callable[..., None],
    read: Callable[[Path], Any],
    run: Callable[[Path, torch.device], Callable[[Tensor], Tensor]],
) -> None:
    path = tmp_path / "program"
    with path.open("wb") as file:
        write(graph, METADATA, file)
    assert read(path) == METADATA
    program = run(path, CPU)
    with torch.inference_mode():
        for batch in (1, 2, 5):
            torch.testing.assert_close(program(images[:batch]), graph.module(images[:batch]))
