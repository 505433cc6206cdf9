"""The checks of a GPU, tried on a CPU; and what becomes of a check that fails, is skipped, or hangs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_checks
from benchmarks.gpu import Check, Line, make, markdown, run_checks
from benchmarks.gpu_checks import Figures, Place, Skip, attempt, largest_that_fits
from faceparse.core.errors import DatasetError
from faceparse.core.model import abn

DOC = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HERE = ("machine", "torch norm", "syncs", "labels", "processes", "loader", "export", "speed")
"""Checks whose code runs on a CPU."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(torch.device("cpu"), 65, tmp_path)


@pytest.mark.parametrize("name", HERE)
def test_a_check_runs_on_a_cpu(place: Place, name: str) -> None:
    outcome = attempt(gpu_checks.CHECKS[name], place)
    assert (outcome.state, outcome.why) == ("ok", "")
    assert outcome.figures
    json.dumps(vars(outcome))


@pytest.mark.parametrize("name", sorted(set(gpu_checks.CHECKS) - set(HERE)))
def test_what_only_a_gpu_can_show_is_skipped_with_the_reason(place: Place, name: str) -> None:
    if name == "inplace norm" and abn.inplace_abn_problem() is None:
        pytest.skip("inplace-abn is installed: its check is made")
    outcome = attempt(gpu_checks.CHECKS[name], place)
    assert outcome.state == "skipped"
    assert outcome.why


def test_every_check_has_a_time_limit_and_a_row_in_the_docs() -> None:
    assert [check.name for check in gpu.CHECKS] == list(gpu_checks.CHECKS)
    table = DOC.read_text("utf-8")
    assert not [check.name for check in gpu.CHECKS if check.name != "machine" and f"| `{check.name}`" not in table]


def test_a_wrong_norm_layer_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn, "EPS", 1e-2)
    outcome = attempt(gpu_checks.torch_norm, place)
    assert (outcome.state, outcome.why.split(" differs")[0]) == ("failed", "output")


def test_a_step_that_waits_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that is not fused looks at the loss first."""
    sgd = torch.optim.SGD
    monkeypatch.setattr(torch.optim, "SGD", lambda *a, **options: sgd(*a, **options | {"fused": False}))
    outcome = attempt(gpu_checks.syncs, place)
    assert outcome.state == "failed"
    assert "operators wait for the device" in outcome.why


def raising(error: Exception) -> Callable[[Place], Figures]:
    def check(_: Place) -> Figures:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "state", "why"),
    [
        (Skip("no CUDA"), "skipped", "no CUDA"),
        (AssertionError("off by 2"), "failed", "off by 2"),
        (
            RuntimeError("CUDA error: an illegal address\nmore"),
            "failed",
            "RuntimeError: CUDA error: an illegal address",
        ),
        (torch.OutOfMemoryError("full"), "failed", "OutOfMemoryError: full"),
        (DatasetError("a.jpg: broken"), "failed", "DatasetError: a.jpg: broken"),
    ],
)
def test_an_error_is_the_outcome_of_its_check(place: Place, error: Exception, state: str, why: str) -> None:
    outcome = attempt(raising(error), place)
    assert outcome.state == state
    assert outcome.why.startswith(why)


@pytest.mark.parametrize("most", [2, 3, 7, 13, 14, 100, 1000])
def test_the_largest_batch_is_found_to_an_eighth(most: int) -> None:
    tried: list[int] = []

    def fits(count: int) -> bool:
        tried.append(count)
        return count <= most

    found = largest_that_fits(fits, 2)
    assert found <= most < found + max(2, found // 4)
    assert len(tried) < 20
    assert largest_that_fits(fits, 2, lambda: False) == 2


def test_checks_without_time_left_are_skipped() -> None:
    made: list[float] = []

    def make(check: Check, seconds: float) -> Line:
        made.append(seconds)
        return Line(check.name, check.promise, "ok")

    checks = [Check("a", 30, "A"), Check("b", 1000, "B")]
    assert [line.state for line in run_checks(checks, make, 100)] == ["ok", "ok"]
    assert made[0] == 30
    assert 10 < made[1] <= 100
    (first, second) = run_checks(checks, make, 0)
    assert (first.state, second.why) == ("skipped", "the 0 s for all checks are over")


def test_a_check_that_takes_too_long_is_ended() -> None:
    line = make(Check("loader", 0.2, "p"), 0.2, "cpu", 65)
    assert (line.state, line.why) == ("failed", "not done after 0 s")


def test_a_process_that_dies_is_told_by_its_last_words() -> None:
    line = make(Check("no such check", 60, "p"), 60, "cpu", 65)
    assert line.state == "failed"
    assert line.why.startswith("its process ended: ")
    assert "no such check" in line.why


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what failed makes the exit code 1."""
    states = iter(["ok", "failed", "skipped"])
    monkeypatch.setattr(gpu, "CHECKS", gpu.CHECKS[:3])
    monkeypatch.setattr(
        gpu,
        "make",
        lambda check, *_: Line(check.name, "a | b", next(states), "why", 1.5, {"ms": 1 / 3}),  # type: ignore[arg-type]
    )
    assert gpu.main(["--device", "cpu", "--output", str(tmp_path)]) == 1
    said = json.loads((tmp_path / "gpu-check.json").read_text())
    assert [check["state"] for check in said["checks"]] == ["ok", "failed", "skipped"]
    rows = (tmp_path / "gpu-check.md").read_text().splitlines()
    assert rows[3] == "| torch norm | a / b | failed: why | 2 | ms 0.3333 |"
    assert markdown([]).count("\n") == 2


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "gpu-check needs a GPU that PyTorch can use; see 'faceparse doctor'\n"
