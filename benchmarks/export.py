"""Exported files against PyTorch on the CPU: how fast they are, and what int8 costs in F1."""

import tempfile
from pathlib import Path

from benchmarks.harness import Result, make_faces, speedup
from faceparse.commands.console import silent_libraries
from faceparse.core.evaluation.split import find_split
from faceparse.core.export.export import Exporter
from faceparse.core.export.latency import BATCH, measure
from faceparse.core.model.weights import Checkpoint, read_checkpoint
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


TIMED = (225, 161)
"""Crop of the experiments on photographs."""


def run() -> list[Result]:
    silent_libraries()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_faces(root / "faces", 120, 192)
        options = SETTINGS | {"data.root": root / "faces", "train.run_dir": root / "run"}
        checkpoint = read_checkpoint(train(load_settings(options=options), Bystander()).best)
        return [*_speeds(Exporter(checkpoint, input_size=TIMED), root), _f1(checkpoint, root)]


def _speeds(exporter: Exporter, root: Path) -> list[Result]:
    """ONNX Runtime and PyTorch have the same number of threads."""
    reports = {name: exporter.export(name, root / f"timed-{name}.onnx") for name in FORMATS}
    networks = {name: report.model.network(exporter.device) for name, report in reports.items()}
    speeds = measure({"PyTorch": exporter.network, **networks})
    peer = speeds["PyTorch"]
    results = []
    for name in FORMATS:
        alone, together = speeds[name].latency, 1 / speeds[name].throughput
        what = f"export: {name}, ResNet-18 at {TIMED[0]} x {TIMED[1]}, times as fast as PyTorch"
        results += [
            speedup(f"{what}, one crop", alone, peer.latency, 1.0),
            speedup(f"{what}, each of {BATCH} crops", together, 1 / peer.throughput, 1.0),
        ]
    return results


def _f1(checkpoint: Checkpoint, root: Path) -> Result:
    """Of a network of a few epochs, for which more pixels are close calls than for one that is trained to its end."""
    exporter = Exporter(checkpoint, scored_on=find_split(checkpoint), max_f1_drop=1)
    scores = exporter.export("onnx-int8", root / "scored.onnx").scores
    assert scores is not None
    assert exporter.scores is not None
    ours, peer = scores.mean_f1, exporter.scores.mean_f1
    return Result(
        "export: onnx-int8, its mean F1 as a share of PyTorch's", ours, peer, ours / peer, 0.95, "at least", "F1"
    )
