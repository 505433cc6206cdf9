"""Measure where the time of a training step goes."""

import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile

from faceparse.core.errors import SettingsError
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.machine.distributed import ALONE, is_joined
from faceparse.core.runs.directory import new_name
from faceparse.core.sampling.samples import Batch
from faceparse.core.settings import Settings
from faceparse.core.training.assemble import make_loader, make_trainer
from faceparse.core.training.observer import Observer
from faceparse.core.training.plan import TrainingPlan, adopt_start, plan_training

WARM_UP, ITERATIONS = 3, 10
PARTS = ("load", "to device", "forward", "loss", "backward", "update")
"""Parts of a step, as the trainer names them."""
TRACE, TABLE = "trace.json.gz", "table.txt"


@dataclass(frozen=True)
class Part:
    """Time of one part of a step, in milliseconds per iteration."""

    name: str
    host: float
    gpu: float | None
    """None on a CPU."""


@dataclass(frozen=True)
class StepProfile:
    """Result of `profile_step`."""

    folder: Path
    parts: list[Part]
    iteration: float
    """Milliseconds from one iteration to the next, including time that is in no part."""
    update_size: int
    """Photographs per iteration."""


def profile_step(settings: Settings, observer: Observer) -> StepProfile:
    """Train a few iterations, and keep only a trace and a table of their operators.

    The trace (Chrome's format, for ui.perfetto.dev) and the table of the costliest operators go into a new folder
    `profile-<time>-<id>` beside the runs.

    Raises:
        FaceparseError: as `run.train`.
    """
    if is_joined() or settings.launch.processes * settings.launch.nodes > 1 or "," in settings.train.device:
        raise SettingsError("--profile looks at one process: choose one GPU, or --processes 1")
    plan = plan_training(adopt_start(settings, observer), observer.track, ALONE)
    trainer, batches = make_trainer(plan), _endless(plan)
    accumulate, gpu = plan.batches.accumulate, plan.device.type == "cuda"
    for _ in trainer.train_epoch(islice(batches, WARM_UP * accumulate)):
        pass
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu
    with profile(activities=activities) as profiler:
        started = time.perf_counter()
        for _ in trainer.train_epoch(islice(batches, ITERATIONS * accumulate)):
            pass
        if gpu:
            torch.cuda.synchronize(plan.device)
        taken = time.perf_counter() - started
    events = {event.key: event for event in profiler.key_averages()}
    parts = [
        Part(
            name,
            events[name].cpu_time_total / ITERATIONS / 1000,
            events[name].device_time_total / ITERATIONS / 1000 if gpu else None,
        )
        for name in PARTS
    ]
    folder = settings.experiment_dir / f"profile-{new_name()}"
    _write(folder, profiler, gpu)
    return StepProfile(folder, parts, 1000 * taken / ITERATIONS, plan.update_size)


def _endless(plan: TrainingPlan) -> Iterator[Batch]:
    loader = make_loader(plan)
    while True:
        plan.batches.epoch += 1
        yield from loader


def _write(folder: Path, profiler: profile, gpu: bool) -> None:
    make_folder(folder)
    with TemporaryDirectory() as temporary:
        trace = Path(temporary) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        write_atomic(folder / TRACE, gzip.compress(trace.read_bytes(), 5))
    order = "self_device_time_total" if gpu else "self_cpu_time_total"
    write_atomic(folder / TABLE, profiler.key_averages().table(sort_by=order, row_limit=25).encode())
