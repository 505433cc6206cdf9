"""What a run records, and how a test stops one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from faceparse.core.settings import ModelSettings, Settings
from faceparse.core.training.run import train
from tests.conftest import PAPER, Silent

RESNET = {key.replace(".", "__"): value for key, value in PAPER.items()}


class Watcher(Silent):
    """Presses Ctrl-C after an epoch, if it is told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.stop_after = stop_after

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        assert iterations == 3

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        super().epoch_finished(epoch, metrics, best, metric)
        if epoch == self.stop_after:
            raise KeyboardInterrupt


def recorded(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def logged(store: str, run_id: str | None) -> Run:
    assert run_id is not None
    return MlflowClient(store).get_run(run_id)


def points(store: str, run_id: str | None, name: str) -> list[tuple[int, float]]:
    """(step, value) of everything that was ever logged under that name."""
    assert run_id is not None
    return sorted((metric.step, metric.value) for metric in MlflowClient(store).get_metric_history(run_id, name))


def artifacts(store: str, run_id: str | None, folder: str | None = None) -> set[str]:
    assert run_id is not None
    return {file.path for file in MlflowClient(store).list_artifacts(run_id, folder)}


def assert_same(found: object, expected: object, where: str = "") -> None:
    """Equal bit for bit, through all containers."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where  # type: ignore[arg-type]
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected), where  # type: ignore[call-overload]
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")  # type: ignore[index]
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where  # type: ignore[arg-type]
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):  # type: ignore[call-overload]
            assert_same(a, b, f"{where}.{i}")
    else:
        assert found == expected, where


def last(run_dir: Path) -> dict[str, Any]:
    """All of last.pth that does not depend on where and when the run took place."""
    content = torch.load(run_dir / "last.pth", weights_only=True)
    return {key: content[key] for key in ("model", "epoch", "scores", "training", "label_set")}


def comparable(run_dir: Path) -> list[tuple[int, dict[str, float]]]:
    """metrics.jsonl without the clock and the machine."""
    others = ("train/images_per_second", "system/")
    return [
        (line["epoch"], {key: value for key, value in line["metrics"].items() if not key.startswith(others)})
        for line in recorded(run_dir)
    ]


def papers_model() -> ModelSettings:
    return ModelSettings(backbone="resnet18", stem="torchvision")


def stopped(settings: Settings) -> Path:
    """A run that was stopped after its first epoch, on a dataset of its own that may be changed."""
    assert settings.train.run_dir is not None
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=1))
    return settings.train.run_dir
