"""Checks of what faceparse promises of GPUs. `benchmarks/gpu.py` runs each in a process of its own.

    python -m benchmarks.gpu_checks syncs --device cuda --size 473 --folder work

Each check returns its figures, raises `Skip` where it cannot be made here, or any other error where the promise is not
kept. On a CPU the same code runs; what only a GPU can show is skipped there.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import make_faces
from benchmarks.loss import CountSyncs
from faceparse.core.errors import FaceparseError, ResourceError, first_line
from faceparse.core.machine.device import check_device, full_memory_named, resolve_device
from faceparse.core.machine.distributed import ALONE
from faceparse.core.machine.parallel import untracked
from faceparse.core.model.abn import EPS, MOMENTUM, SLOPE, NormKind, inplace_abn_problem, norm_layer
from faceparse.core.model.build import build_model
from faceparse.core.model.normalise import Normalise
from faceparse.core.sampling.samples import Batch
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings, load_settings
from faceparse.core.training.assemble import make_loader, make_trainer
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.plan import plan_training
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.trainer import Trainer

Figures = dict[str, float | str]
PORTRAITS = Path(__file__).parents[1] / "docs" / "portraits"
CLASSES, BATCH_SIZE = 11, 7
"""Classes and batch of the paper's recipe for Helen."""


class Skip(Exception):  # noqa: N818
    """The check cannot be made here, for the reason that it holds."""


@dataclass(frozen=True)
class Place:
    """Where and on what the checks run."""

    device: torch.device
    size: int
    """Side of the crop."""
    folder: Path
    deadline: float = float("inf")
    """Time (`time.monotonic`) when the check should be done."""

    @property
    def gpu(self) -> bool:
        """Whether this is a GPU, where times mean something."""
        return self.device.type == "cuda"

    @property
    def batch_size(self) -> int:
        """Photographs of a step: fewer on a CPU, which only tries the code."""
        return BATCH_SIZE if self.gpu else 2

    @property
    def model(self) -> ModelSettings:
        """The paper's network; a small one on a CPU."""
        return ModelSettings(norm="torch") if self.gpu else ModelSettings(backbone="resnet18", norm="torch")

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def wait(self) -> None:
        """Wait until the GPU has done all work."""
        if self.gpu:
            torch.cuda.synchronize(self.device)


@dataclass(frozen=True)
class Way:
    """One way to compute a training step."""

    name: str
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    compiled: bool = False
    norm: NormKind = "torch"


PLAIN = Way("fp32")
FAST = Way("bf16, channels last", torch.bfloat16, channels_last=True)
COMPILED = Way("bf16, channels last, compiled", torch.bfloat16, channels_last=True, compiled=True)
HALF = Way("fp16, channels last", torch.float16, channels_last=True)
IN_PLACE = Way("fp32, inplace_abn", norm="inplace_abn")


def machine(place: Place) -> Figures:
    """Say what this machine is."""
    figures: Figures = {"processor": platform.machine(), "python": platform.python_version()}
    for name in ("torch", "inplace-abn", "onnxruntime", "onnxruntime-gpu"):
        try:
            figures[name] = version(name)
        except PackageNotFoundError:
            figures[name] = "not installed"
    if place.gpu:
        found = torch.cuda.get_device_properties(place.device)
        figures |= {"GPU": found.name, "GPU memory, GiB": found.total_memory / 2**30, "CUDA": str(torch.version.cuda)}
    return figures


def torch_norm(place: Place) -> Figures:
    """Compare the plain norm layer on the device with its formula in float64 on the CPU."""
    x, way = _norm_input(place)
    layer = _norm("torch", place.device)
    found = _norm_answers(layer, x.to(place.device), way.to(place.device))
    expected = _norm_answers(_Formula(x.shape[1]), x.double(), way.double())
    return _differences(found, expected, 1e-4)


def inplace_norm(place: Place) -> Figures:
    """Compare the in-place norm layer with the plain one: outputs, gradients, statistics, time and memory of a step."""
    if problem := inplace_abn_problem(place.device):
        raise Skip(problem)
    x, way = (tensor.to(place.device) for tensor in _norm_input(place))
    plain, in_place = (_norm_answers(_norm(kind, place.device), x, way) for kind in ("torch", "inplace_abn"))
    figures = _differences(in_place, plain, 1e-3)
    losses = []
    for one in (PLAIN, IN_PLACE):
        measured, loss = _measured(place, one, place.batch_size)
        figures |= measured
        losses.append(loss)
    figures["loss, relative difference"] = difference = abs(losses[1] / losses[0] - 1)
    assert difference < 1e-3, f"the first loss differs by {difference:.1e}"
    return figures


class _Formula(nn.Module):
    """The norm layer as `core/model/abn.py` states it, in float64."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(one) for one in _norm_weights(channels))
        self.running_mean, self.running_var = torch.zeros(channels).double(), torch.ones(channels).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        count = x.numel() / x.shape[1]
        self.running_mean = self.running_mean.lerp(mean.detach(), MOMENTUM)
        self.running_var = self.running_var.lerp(var.detach() * count / (count - 1), MOMENTUM)
        mean, var, weight, bias = (one.view(1, -1, 1, 1) for one in (mean, var, self.weight, self.bias))
        return F.leaky_relu((x - mean) / (var + EPS).sqrt() * (weight.abs() + EPS) + bias, SLOPE)


def _norm_weights(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(2, channels, generator=random, dtype=torch.float64)
    return weight, bias


def _norm(kind: NormKind, device: torch.device) -> nn.Module:
    layer = norm_layer(kind, device)(64).to(device)
    for own, values in zip((layer.weight, layer.bias), _norm_weights(64), strict=True):
        own.data.copy_(values)  # type: ignore[operator]
    return layer


def _norm_input(place: Place) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    shape = (place.batch_size, 64, place.size // 4, place.size // 4)
    return torch.randn(shape, generator=random), torch.randn(shape, generator=random)


def _norm_answers(layer: nn.Module, x: torch.Tensor, way: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    answer = layer.train()(x * 1.0)  # the in-place layer writes over its input
    answer.backward(way)
    assert x.grad is not None
    named: dict[str, Any] = {"output": answer, "gradient": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad}
    return named | {"mean": layer.running_mean, "variance": layer.running_var}


def _differences(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], most: float) -> Figures:
    """Largest difference of each, as a share of the largest value."""
    figures: Figures = {}
    for name, one in found.items():
        ours, theirs = one.detach().double().cpu(), expected[name].detach().double().cpu()
        figures[f"{name}, largest difference"] = share = float((ours - theirs).abs().max() / theirs.abs().max())
        assert share < most, f"{name} differs by {share:.1e}"
    return figures


def speed(place: Place) -> Figures:
    """Measure a training step in bf16 and fp16 against plain fp32: speed, first loss, peak memory."""
    return _compared_with_plain(place, (FAST, HALF) if place.gpu else (FAST,))


def compiled(place: Place) -> Figures:
    """Measure a compiled training step against plain fp32: speed, first loss, peak memory."""
    if not place.gpu:
        raise Skip("compiling takes minutes on a CPU, and tells nothing of a GPU")
    return _compared_with_plain(place, (COMPILED,))


def _compared_with_plain(place: Place, ways: Sequence[Way]) -> Figures:
    figures, first = _measured(place, PLAIN, place.batch_size)
    plain = float(figures[f"{PLAIN.name}: ms a step"])
    for way in ways:
        measured, loss = _measured(place, way, place.batch_size)
        figures |= measured
        difference, ratio = abs(loss / first - 1), plain / float(measured[f"{way.name}: ms a step"])
        figures[f"{way.name}: times as fast as {PLAIN.name}"] = ratio
        figures[f"{way.name}: loss, relative difference"] = difference
        assert difference < 0.03, f"{way.name}: the first loss differs by {difference:.1%}"
        assert ratio > 1 or not place.gpu, f"{way.name}: {ratio:.2f} times as fast as {PLAIN.name}"
    return figures


def largest(place: Place) -> Figures:
    """Measure photographs a second at the largest batch that fits; full memory is an error of one line."""
    if not place.gpu:
        raise Skip("a CPU's memory is the machine's; this needs a GPU")
    figures: Figures = {}
    for way in (PLAIN, FAST):

        def fits(count: int, way: Way = way) -> bool:
            try:
                with full_memory_named(place.device):
                    _measured(place, way, count, rounds=1)
            except ResourceError as error:
                assert f"the memory of {place.device} is full" in str(error)
                figures["full memory"] = first_line(error, 60)
                return False
            return True

        count = largest_that_fits(fits, place.batch_size, lambda: place.left > 15)
        measured, _ = _measured(place, way, count, rounds=3)
        figures[f"{way.name}: largest batch"] = count
        figures[f"{way.name}: photographs a second"] = 1000 * count / float(measured[f"{way.name}: ms a step"])
    ours, plain = (float(figures[f"{way.name}: photographs a second"]) for way in (FAST, PLAIN))
    figures[f"{FAST.name}: times as fast as {PLAIN.name}"] = ours / plain
    return figures


def largest_that_fits(fits: Callable[[int], bool], start: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Largest count that fits, to an eighth: doubled until one does not, then between the two.

    Args:
        go_on: whether there is time for another try.
    """
    good, bad = start, None
    while go_on() and bad is None:
        if fits(2 * good):
            good *= 2
        else:
            bad = 2 * good
    while bad is not None and bad - good > max(1, good // 8) and go_on():
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def syncs(place: Place) -> Figures:
    """Count what makes the host wait for the device in a training step: nothing may."""
    figures: Figures = {}
    for way in (PLAIN, FAST):
        trainer, batch = _trainer(place, way), _batch(place, place.batch_size)
        trainer.step([batch])  # the first step may choose kernels, and fills the optimizer's state
        with CountSyncs() as counted:
            trainer.step([batch])
        figures[f"{way.name}: operators that wait"] = counted.count
        assert counted.count == 0, f"{way.name}: {counted.count} operators wait for the device"
        if place.gpu:
            place.wait()
            with _waiting_is_an_error():
                for _ in range(3):
                    trainer.step([batch])
        figures[f"{way.name}: waits that PyTorch sees"] = 0 if place.gpu else "seen on a GPU only"
    return figures


@contextmanager
def _waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def loader(place: Place) -> Figures:
    """Measure the share of a step that waits for data, with the loader's default settings."""
    count, side, steps = (96, 512, 24) if place.gpu else (20, 64, 4)
    make_faces(place.folder / "faces", count, side)
    options: dict[str, object] = {
        "data.root": place.folder / "faces",
        "data.input_size": (place.size, place.size),
        "train.batch_size": place.batch_size,
        "train.device": str(place.device),
        "model.backbone": place.model.backbone,
        "tracking.enabled": False,
    }
    plan = plan_training(load_settings(options=options), untracked, ALONE)
    trainer, batches = make_trainer(plan), _endless(plan)
    kept = next(batches)
    assert kept.image.is_pinned() == place.gpu, "batches are not in pinned memory"

    def seconds(source: Iterator[Batch]) -> float:
        for _ in trainer.train_epoch(islice(source, 4)):
            pass
        place.wait()
        started = time.perf_counter()
        for _ in trainer.train_epoch(islice(source, steps)):
            pass
        place.wait()
        return (time.perf_counter() - started) / steps

    alone = seconds(iter(lambda: kept, None))
    loaded = seconds(batches)
    share = max(0.0, 1 - alone / loaded)
    figures: Figures = {
        "ms a step with the loader": 1000 * loaded,
        "ms a step with one batch again and again": 1000 * alone,
        "share of the step that waits for data": share,
        "loader processes": plan.settings.data.workers,
        "speed": str(plan.speed),
    }
    assert share < 0.1 or not place.gpu, f"a step waits for data for {share:.0%} of its time"
    return figures


def _endless(plan: Any) -> Iterator[Batch]:
    batches = make_loader(plan)
    while True:
        plan.batches.epoch += 1
        yield from batches


def labels(place: Place) -> Figures:
    """Compare the shipped model's labels of a portrait on the device with those of the CPU."""
    import faceparse

    portrait = str(next(iter(sorted(PORTRAITS.glob("*.jpg")))))
    here, there = faceparse.load(device="cpu"), faceparse.load(device=str(place.device))
    expected, found = (np.asarray(parser.predict(portrait).labels) for parser in (here, there))
    started = time.perf_counter()
    for _ in range(5):
        there.predict(portrait)
    figures: Figures = {
        "share of pixels with the same class": float((expected == found).mean()),
        "ms a photograph": 200 * (time.perf_counter() - started),
    }
    assert figures["share of pixels with the same class"] > 0.999, str(figures)  # type: ignore[operator]
    return figures


def export(place: Place) -> Figures:
    """Export the shipped model to ONNX, and compare ONNX Runtime on the device with PyTorch there."""
    from faceparse.core.export.export import Exporter, read_exportable
    from faceparse.core.export.onnx import runs_on_gpu
    from faceparse.core.export.verify import drawn_crops
    from faceparse.core.names.shipped import DEFAULT
    from faceparse.core.parser.inference import Parser

    if place.gpu and not runs_on_gpu():
        raise Skip("onnxruntime-gpu is not installed: ONNX Runtime has no CUDA here")
    checkpoint = read_exportable(DEFAULT)
    report = Exporter(checkpoint).export("onnx", place.folder / "model.onnx")
    networks = {"PyTorch": checkpoint.network(place.device), "ONNX Runtime": report.model.network(place.device)}
    crops = drawn_crops(8, networks["PyTorch"].input_size)
    answers, figures = [], Figures()
    for name, network in networks.items():
        parser = Parser(network, place.device)
        answers.append(parser.parse_crops(crops))
        figures[f"{name}: ms for eight crops"] = 1000 * _median(lambda p=parser: p.parse_crops(crops), 5)  # type: ignore[misc]
    figures["share of pixels with the same class"] = same = float((answers[0] == answers[1]).mean())
    assert same > 0.99, f"{same:.2%} of the pixels have the same class"
    return figures


def processes(place: Place) -> Figures:
    """Train in two processes on one device, by gloo, and compare with one process and the double batch."""
    where = f"cuda:{place.device.index or 0}" if place.gpu else "cpu"
    two = ["--device", f"{where},{place.device.index or 0}"] if place.gpu else ["--device", where, "--processes", "2"]
    return _trained_alike(place, ["--device", where], two)


def nccl(place: Place) -> Figures:
    """Train in two processes on two GPUs, by NCCL, and compare with one process and the double batch."""
    if not place.gpu or torch.cuda.device_count() < 2:
        raise Skip("this needs two GPUs")
    return _trained_alike(place, ["--device", "cuda:0"], ["--gpus", "0,1"])


def _trained_alike(place: Place, one: list[str], two: list[str]) -> Figures:
    """Train twice for an epoch of a few updates, with a rate that keeps rounding errors from growing."""
    make_faces(place.folder / "faces", 20, 64)
    taken, results = [], []
    for name, batch_size, where in (("one", 4, one), ("two", 2, two)):
        run = place.folder / name
        command = [sys.executable, "-m", "faceparse.cli", "train", "--data-dir", str(place.folder / "faces")]
        command += ["--snapshot-dir", str(run), "--batch-size", str(batch_size), "--epochs", "1", *where]
        command += ["--input-size", "64,64", "--learning-rate", "1e-4"]
        for setting in ("model.backbone=resnet18", "model.stem=torchvision", "model.norm=torch", "data.workers=0"):
            command += ["--set", setting]
        command += [
            "--set",
            "tracking.enabled=false",
            "--set",
            "speed.precision=fp32",
            "--set",
            "launch.max_restarts=0",
        ]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {first_line(RuntimeError(done.stderr.strip().splitlines()[-1]), 200)}"
        taken.append(time.perf_counter() - started)
        metrics = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[-1])["metrics"]
        results.append((metrics["train/loss"], _weights(run)))
    (loss, weights), (other_loss, other) = results
    assert weights.keys() == other.keys()
    far = torch.cat([(other[name] - value).double().flatten() for name, value in weights.items()]).norm()
    size = torch.cat([value.double().flatten() for value in weights.values()]).norm()
    figures: Figures = {
        "loss, relative difference": abs(other_loss / loss - 1),
        "weights, relative difference": float(far / size),
        "s with one process": taken[0],
        "s with two processes": taken[1],
    }
    assert abs(other_loss / loss - 1) < 0.01, str(figures)
    assert far / size < 1e-3, str(figures)
    return figures


def _weights(run: Path) -> dict[str, torch.Tensor]:
    from faceparse.core.parser.checkpoint_file import read_checkpoint

    weights = read_checkpoint(run / "last.pth").weights
    learned = (name for name in weights if not name.endswith(("running_mean", "running_var", "num_batches_tracked")))
    return {name: weights[name] for name in learned}


def metrics(place: Place) -> Figures:
    """Look for the GPU's metrics that runs have in MLflow."""
    from faceparse.core.runs.system import SystemMonitor

    if not place.gpu:
        raise Skip("this needs a GPU")
    with SystemMonitor() as monitor:
        taken = {name: value for name, value in monitor.take().items() if "gpu" in name}
    assert any(name.startswith("system/gpu_0_") for name in taken), f"only {sorted(taken)}"
    return dict(taken)


def _median(function: Callable[[], object], rounds: int) -> float:
    """Median seconds; the first call does not count."""
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _measured(place: Place, way: Way, count: int, rounds: int = 8) -> tuple[Figures, float]:
    """Time and peak memory of a step on `count` photographs, and the first step's loss."""
    if place.gpu:
        gc.collect()  # what the last measurement left
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place.device)
    trainer, batch = _trainer(place, way), _batch(place, count)
    first = float(trainer.step([batch])[0])
    for _ in range(min(rounds, 2)):
        trainer.step([batch])

    def step() -> None:
        trainer.step([batch])
        place.wait()

    place.wait()
    figures: Figures = {f"{way.name}: ms a step": 1000 * _median(step, rounds if place.gpu else 2)}
    if place.gpu:
        figures[f"{way.name}: peak memory, GiB"] = torch.cuda.max_memory_allocated(place.device) / 2**30
    return figures, first


def _trainer(place: Place, way: Way) -> Trainer:
    """A trainer of the same first weights in every way."""
    torch.manual_seed(0)
    model = build_model(place.model.model_copy(update={"norm": way.norm}), CLASSES, place.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    return Trainer(
        model=model.train(),
        loss=EAGRNetLoss(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, OptimSettings(), 10**6),
        normalise=Normalise(DataSettings(input_size=(place.size, place.size))).to(place.device),
        device=place.device,
        dtype=way.dtype,
        channels_last=way.channels_last,
        compiled=way.compiled,
    )


def _batch(place: Place, count: int) -> Batch:
    """A batch of random pictures and labels, pinned for a GPU."""
    random = torch.Generator().manual_seed(0)
    shape = (count, place.size, place.size)
    parts = (
        torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=random),
        torch.randint(0, CLASSES, shape, dtype=torch.uint8, generator=random),
        torch.randint(0, 2, shape, dtype=torch.uint8, generator=random),
        torch.arange(count),
    )
    return Batch(*(part.pin_memory() if place.gpu else part for part in parts))


CHECKS: dict[str, Callable[[Place], Figures]] = {
    "machine": machine,
    "torch norm": torch_norm,
    "inplace norm": inplace_norm,
    "syncs": syncs,
    "labels": labels,
    "processes": processes,
    "loader": loader,
    "export": export,
    "metrics": metrics,
    "nccl": nccl,
    "largest": largest,
    "speed": speed,
    "compile": compiled,
}


@dataclass(frozen=True)
class Outcome:
    """Result of one check."""

    state: Literal["ok", "failed", "skipped"]
    why: str
    """Reason where it is not ok."""
    figures: Figures


def attempt(check: Callable[[Place], Figures], place: Place) -> Outcome:
    """Make one check. Its errors are its outcome."""
    try:
        return Outcome("ok", "", check(place))
    except Skip as reason:
        return Outcome("skipped", str(reason), {})
    except AssertionError as error:
        return Outcome("failed", first_line(error, 300), {})
    except (FaceparseError, RuntimeError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        return Outcome("failed", f"{type(error).__name__}: {first_line(error, 300)}", {})


def main() -> None:
    """Make the check that the command line names, and print its outcome as JSON."""
    parser = argparse.ArgumentParser(description="One check of a GPU.")
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=473)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    typed = parser.parse_args()
    check_device(typed.device)
    deadline = time.monotonic() + typed.seconds
    place = Place(resolve_device(typed.device), typed.size, typed.folder, deadline)
    outcome = attempt(CHECKS[typed.check], place)
    print(json.dumps(vars(outcome)))


if __name__ == "__main__":
    main()
