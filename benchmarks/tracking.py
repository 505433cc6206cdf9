"""Measure what tracking costs a training step, with MLflow answering and with MLflow gone."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Result, medians, overhead
from benchmarks.step import make_step
from faceparse.core.runs.directory import RunDirectory
from faceparse.core.runs.tracker import Tracker
from faceparse.core.settings import TrackingSettings, load_settings

STEPS = 10
"""Steps per epoch. Real epochs have more, so tracking costs them less."""
POINTS = 45
"""Points per epoch with eleven classes."""


def run() -> list[Result]:
    """Measure both states of MLflow."""
    step = make_step((33, 33), 4)
    results = []
    with TemporaryDirectory() as folder:
        for state, uri in (
            ("answering", f"sqlite:///{folder}/mlflow.db"),
            ("gone", "http://127.0.0.1:9"),
        ):
            directory = RunDirectory.create(load_settings(options={"train.run_dir": Path(folder) / state}))
            tracker = _start(TrackingSettings(uri=uri), directory)
            epochs = iter(range(1, 1000))

            def tracked(directory: RunDirectory = directory, tracker: Tracker = tracker) -> None:
                directory.record(next(epochs), {f"val/metric_{number}": 0.5 for number in range(POINTS)})  # noqa: B023
                tracker.deliver()
                bare()

            def bare() -> None:
                for _ in range(STEPS):
                    step()

            ours, floor = medians(tracked, bare, rounds=7)
            what = f"tracking: {STEPS} steps and an epoch's points with MLflow {state}, against the steps alone"
            results.append(overhead(what, ours / STEPS, floor / STEPS, 1.02))
            directory.close()
    return results


def _start(settings: TrackingSettings, directory: RunDirectory) -> Tracker:
    return Tracker.start(
        settings,
        directory.path,
        directory.metrics,
        params={},
        tags={},
        warn=lambda _text: None,
        say=lambda _text: None,
    )
