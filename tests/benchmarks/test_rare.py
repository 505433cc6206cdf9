"""The campaign of rare classes goes on where it was stopped."""

from pathlib import Path
from typing import Any

import pytest

import faceparse
from benchmarks import rare
from tests.conftest import TINY


def test_a_stopped_campaign_trains_only_what_is_missing(
    faces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rare, "DATASET", faces)
    monkeypatch.setattr(rare, "SETTINGS", TINY | {"data.root": faces, "tracking.enabled": False})
    monkeypatch.setattr(rare, "ARMS", {"plain": {}, "both": {"loss.lovasz": 1.0}})
    monkeypatch.setattr(rare, "RARE", {"nose": "nose"})
    monkeypatch.setattr(rare, "ROWS", {"f1/nose": "nose", "mean_f1": "mean"})
    plain, trained = faceparse.train, []

    def train(**options: Any) -> object:
        trained.append(str(options["snapshot_dir"]))
        if len(trained) == 2:
            raise KeyboardInterrupt
        return plain(**options)

    monkeypatch.setattr(faceparse, "train", train)
    with pytest.raises(KeyboardInterrupt):
        rare.run()
    (result,) = rare.run()
    assert trained == ["runs/rare/plain", "runs/rare/both", "runs/rare/both"]
    scores = {name: faceparse.evaluate(f"runs/rare/{name}/best.pth", split="val") for name in ("plain", "both")}
    f1 = {name: one.scores["eagrnet"].f1["nose"] for name, one in scores.items()}
    assert (result.ours, result.peer) == (f1["both"], f1["plain"])
    heading, _, nose, mean = capsys.readouterr().out.splitlines()
    assert heading == "| F1 % | plain | both |"
    # A class that fewer than ten photographs have gets no interval.
    assert nose == f"| nose | {100 * (f1['plain'] or 0):.2f} | {100 * (f1['both'] or 0):.2f} |"
    assert mean.startswith("| mean | ")
