"""The computed table against a ring that is really walked around, message by message."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import scaling
from benchmarks.scaling import NVLINK, PER_MACHINE, Link, Traffic, all_gather, all_reduce, step, traffic
from faceparse.core.settings import ModelSettings

DOC = Path(__file__).parents[2] / "docs" / "scaling.md"
NETWORK = Link(12.5e9, 10e-6)


def links(gpus: int) -> list[Link]:
    """From each to the next."""
    crossing = [(rank + 1) % PER_MACHINE == 0 or rank + 1 == gpus for rank in range(gpus)]
    return [NETWORK if between and gpus > PER_MACHINE else NVLINK for between in crossing]


def walk(gpus: int, size: float, rounds: int) -> float:
    """Seconds until all have passed on as many parts as `rounds`, each as soon as it came and the link was free."""
    ring = links(gpus)
    has = [0.0] * gpus
    free = [0.0] * gpus
    for _ in range(rounds):
        sent = [max(has[rank], free[rank]) + size / ring[rank].bandwidth for rank in range(gpus)]
        free = sent
        has = [sent[rank - 1] + ring[rank - 1].latency for rank in range(gpus)]
    return max(has)


def summed(values: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Ring all-reduce of R x R parts, one row a process; and how many parts each sends."""
    gpus = len(values)
    parts, sends = values.clone(), 0
    for turn in range(2 * (gpus - 1)):
        sends += 1
        before = parts.clone()
        for rank in range(gpus):
            part = (rank - turn - 1) % gpus
            parts[rank, part] = before[rank - 1, part] + (before[rank, part] if turn < gpus - 1 else 0)
    return parts, sends


@pytest.mark.parametrize("gpus", [2, 3, 8])
def test_a_ring_sums_everywhere_what_the_formula_says_it_sends(gpus: int) -> None:
    values = torch.rand(gpus, gpus, dtype=torch.float64)
    parts, sends = summed(values)
    torch.testing.assert_close(parts, values.sum(0).expand(gpus, gpus))
    assert all_reduce(8e9, gpus, NETWORK) == pytest.approx(walk(gpus, 8e9 / gpus, sends))
    assert all_gather(8e9, gpus, NETWORK) == pytest.approx(walk(gpus, 8e9, gpus - 1))


@pytest.mark.parametrize("gpus", [16, 64, 256])
def test_across_machines(gpus: int) -> None:
    """Short messages take just their hops; long ones go as fast as the network; the formula adds both."""
    assert all_reduce(0, gpus, NETWORK) == pytest.approx(walk(gpus, 0, 2 * (gpus - 1)))
    assert all_gather(0, gpus, NETWORK) == pytest.approx(walk(gpus, 0, gpus - 1))
    for size in (1e4, 1e6, 1e8, 1e10):
        walked = walk(gpus, size / gpus, 2 * (gpus - 1))
        assert 0.5 * all_reduce(size, gpus, NETWORK) < walked < 1.05 * all_reduce(size, gpus, NETWORK)


def test_what_the_recipes_network_sends() -> None:
    sent = traffic(ModelSettings(norm="torch"))
    assert sent.gradients == 4 * 66_722_523
    assert len(sent.norms) == 120
    assert sum(sent.norms) == 57_776
    assert sent.terms == 6


def test_gradients_hide_behind_backward_only_where_they_may() -> None:
    sent = Traffic(267_000_000, (), 4)
    shown, hidden = (step(sent, 16, NETWORK, 0.3, overlap) for overlap in (0.0, 1.0))
    assert shown.total == pytest.approx(0.3 + shown.gradients, rel=1e-2)
    assert hidden.total == pytest.approx(0.3, rel=1e-2)
    assert step(sent, 1, NETWORK, 0.3, 0.0).efficiency == 1


def test_the_document_shows_what_it_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling"])
    scaling.main()
    about, table = capsys.readouterr().out.split("\n\n")
    assert table.strip() in DOC.read_text("utf-8")
    assert about in " ".join(DOC.read_text("utf-8").split())
