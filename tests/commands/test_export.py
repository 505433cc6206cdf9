from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.export import onnx as onnx_module
from faceparse.core.export.onnx import Check, ExportReport
from faceparse.core.model.weights import Checkpoint
from faceparse.core.training.run import RunResult

Tree = Callable[[], dict[Path, bytes]]
BEGINNING = "exporting {}, then comparing it with PyTorch ..."


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Path, tuple[int, int] | None]]:
    """Nothing is exported; what would have been is kept."""
    kept: list[tuple[Path, Path, tuple[int, int] | None]] = []

    def keep(checkpoint: Checkpoint, path: Path, *, input_size: tuple[int, int] | None) -> ExportReport:
        kept.append((checkpoint.path, path, input_size))
        path.write_bytes(bytes(2_500_000))
        return ExportReport(path, (64, 48), 11, (Check(1, 1.5e-7, 1.0), Check(3, 2.5e-7, 0.9999)))

    monkeypatch.setattr(onnx_module, "export_onnx", keep)
    return kept


def test_the_file_and_how_well_it_agrees_are_told(
    cli: Any, trained: RunResult, tmp_path: Path, asked: list[tuple[Path, Path, tuple[int, int] | None]]
) -> None:
    done = cli("export", trained.best, "-o", "best[0].onnx", "--input-size", "64,48")
    assert (done.code, done.err) == (0, BEGINNING.format(trained.best) + "\n")
    assert done.out.splitlines() == [
        "batch 1: largest difference 1.50e-07, argmax agrees on 100.0000% of pixels",
        "batch 3: largest difference 2.50e-07, argmax agrees on 99.9900% of pixels",
        "best[0].onnx: image N x 3 x 64 x 48 -> parsing N x 11 x 64 x 48, 2.5 MB",
    ]
    assert asked == [(trained.best, Path("best[0].onnx"), (64, 48))]


def test_the_default_place_is_beside_the_checkpoint(
    cli: Any, trained: RunResult, asked: list[tuple[Path, Path, tuple[int, int] | None]]
) -> None:
    assert cli("export", trained.best).code == 0
    target = trained.best.with_suffix(".onnx")
    assert asked == [(trained.best, target, None)]
    target.unlink()


def test_an_export_that_does_not_agree_leaves_the_old_file(
    cli: Any, trained: RunResult, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("best.onnx").write_bytes(b"an earlier export")
    before = tree()
    monkeypatch.setattr(onnx_module, "_write", lambda network, checkpoint, path, size: path.write_bytes(b"garbage"))
    done = cli("export", trained.best, "--output", "best.onnx")
    beginning, error = done.err.splitlines()
    assert (done.code, done.out, beginning) == (2, "", BEGINNING.format(trained.best))
    assert error.startswith("error: ONNX Runtime cannot run the exported network (")
    assert tree() == before


def test_other_formats_are_refused(cli: Any, trained: RunResult, tree: Tree) -> None:
    assert cli("export", trained.best, "--format", "tflite").message == "--format 'tflite': this version writes onnx"
    assert tree() == {}


@pytest.mark.parametrize("place", ["file/best.onnx", "/proc/x/best.onnx"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(
    cli: Any, trained: RunResult, tree: Tree, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_module, "_write", pytest.fail)
    Path("file").write_text("mine")
    before = tree()
    done = cli("export", trained.best, "-o", place)
    assert done.code == 2
    assert done.err.splitlines()[1:] == [
        line for line in done.err.splitlines() if line.startswith("error: cannot write")
    ]
    assert len(done.err.splitlines()) == 2
    assert tree() == before
