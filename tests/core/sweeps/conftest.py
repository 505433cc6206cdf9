"""Sweeps over the smallest run, and what MLflow holds of them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from faceparse.core.settings import Settings, load_settings
from tests.conftest import TINY

Make = Callable[..., Settings]


@pytest.fixture(scope="session")
def make(faces: Path, store: str) -> Make:
    """What trials of a sweep share; keyword arguments use `__` for the dot."""

    def make(**changes: object) -> Settings:
        options = {**TINY, "data.root": faces, "tracking.uri": store, "tracking.overlays": 0}
        return load_settings(options=options | {key.replace("__", "."): value for key, value in changes.items()})

    return make


def logged(store: str, experiment: str) -> tuple[Run, list[Run]]:
    """A sweep's run and its children in their order: all that the experiment holds."""
    client = MlflowClient(store)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if run not in children]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, sorted(children, key=lambda run: str(run.info.run_name))


def assert_points_once(store: str, run: Run, steps: set[int]) -> None:
    client = MlflowClient(store)
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    counts = Counter((name, metric.step) for name, metrics in history.items() for metric in metrics)
    assert set(counts.values()) == {1}
    assert {step for _, step in counts} == steps
