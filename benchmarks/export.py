"""Exported files against PyTorch on the CPU: how fast they are, and what int8 costs in F1."""

import tempfile
from pathlib import Path

from benchmarks.harness import Result, make_faces
from faceparse.commands.console import silent_libraries
from faceparse.core.evaluation.split import find_split
from faceparse.core.export.export import Exporter, ExportReport
from faceparse.core.export.latency import BATCH, Speed, measure
from faceparse.core.model.weights import read_checkpoint
from faceparse.core.settings import load_settings
from faceparse.core.training.observer import Bystander
from faceparse.core.training.run import train

FORMATS = ("onnx", "onnx-int8")
SETTINGS = {
    "model.backbone": "resnet18",
    "model.stem": "torchvision",
    "data.input_size": (129, 129),
    "data.workers": 0,
    "optim.lr": 1e-2,
    "optim.warmup": 20,
    "train.batch_size": 8,
    "train.epochs": 10,
    "train.evaluate_every": 10,
    "train.device": "cpu",
    "tracking.enabled": False,
}
"""Those of `faceparse demo`: a network whose F1 says something."""


def run() -> list[Result]:
    silent_libraries()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_faces(root / "faces", 120, 192)
        options = SETTINGS | {"data.root": root / "faces", "train.run_dir": root / "run"}
        checkpoint = read_checkpoint(train(load_settings(options=options), Bystander()).best)
        exporter = Exporter(checkpoint, scored_on=find_split(checkpoint), max_f1_drop=1)
        reports = {name: exporter.export(name, root / f"best-{name}.onnx") for name in FORMATS}
        networks = {name: report.model.network(exporter.device) for name, report in reports.items()}
        speeds = measure({"PyTorch": exporter.network, **networks})
        assert exporter.scores is not None
        return [
            *(_throughput(name, speeds) for name in FORMATS),
            _f1("onnx-int8", reports["onnx-int8"], exporter.scores.mean_f1),
        ]


def _throughput(name: str, speeds: dict[str, Speed]) -> Result:
    """ONNX Runtime and PyTorch have the same number of threads."""
    ours, peer = (1 / speeds[which].throughput for which in (name, "PyTorch"))
    what = f"export: {name}, ResNet-18 at 129 x 129, {BATCH} crops at a time: its rate as a multiple of PyTorch's"
    return Result(what, ours, peer, peer / ours, 1.0, "at least")


def _f1(name: str, report: ExportReport, reference: float) -> Result:
    assert report.scores is not None
    what = f"export: {name}, its mean F1 as a share of PyTorch's"
    return Result(what, report.scores.mean_f1, reference, report.scores.mean_f1 / reference, 0.99, "at least", "F1")
