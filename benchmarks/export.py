"""Compare exported files with PyTorch on the CPU: their speed, and what int8 costs in F1."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import DATASET, Result, are_here, make_faces, speedup
from faceparse.commands.console import silent_libraries
from faceparse.core.export.export import Exporter, ExportReport, read_exportable
from faceparse.core.export.latency import BATCH, measure
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.scoring.split import find_split
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
"""Settings of `faceparse demo`: a network whose F1 means something."""


TIMED = (225, 161)
"""Crop size of the experiments on photographs."""
PHOTOGRAPHS = int(os.environ.get("EXPORT_PHOTOGRAPHS", "200"))
"""Photographs of `val` for the scores of the shipped model's files."""


def run() -> list[Result]:
    """Export a drawn-face network and the shipped model, and measure both."""
    silent_libraries()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_faces(root / "faces", 120, 192)
        options = SETTINGS | {"data.root": root / "faces", "train.run_dir": root / "run"}
        checkpoint = read_checkpoint(train(load_settings(options=options), Bystander()).best)
        exporter = Exporter(checkpoint, input_size=TIMED)
        reports = {name: exporter.export(name, root / f"timed-{name}.onnx") for name in FORMATS}
        drawn = [*_speeds(exporter, reports, "ResNet-18"), _f1(checkpoint, root)]
        return drawn + (_shipped(root) if are_here("exports of the shipped model", DATASET) else [])


def _shipped(root: Path) -> list[Result]:
    """Results of the model that comes with faceparse: scores on photographs, times at its own crop."""
    checkpoint = read_exportable(DEFAULT)
    split = find_split(checkpoint, data_dir=DATASET, split="val")
    exporter = Exporter(checkpoint, scored_on=replace(split, samples=split.samples[:PHOTOGRAPHS]), max_f1_drop=1)
    reports = {name: exporter.export(name, root / f"shipped-{name}.onnx") for name in FORMATS}
    scores = [
        _share(exporter, report, f"of {DEFAULT}", goal)
        for report, goal in zip(reports.values(), (0.999, 0.98), strict=True)
    ]
    return scores + _speeds(exporter, reports, DEFAULT)


def _speeds(exporter: Exporter, reports: Mapping[str, ExportReport], model: str) -> list[Result]:
    """Times of the exported files. ONNX Runtime and PyTorch have the same number of threads."""
    height, width = exporter.network.input_size
    networks = {name: report.model.network(exporter.device) for name, report in reports.items()}
    speeds = measure({"PyTorch": exporter.network, **networks})
    peer = speeds["PyTorch"]
    results = []
    for name in FORMATS:
        alone, together = speeds[name].latency, 1 / speeds[name].throughput
        what = f"export: {name}, {model} at {height} x {width}, times as fast as PyTorch"
        results += [
            speedup(f"{what}, one crop", alone, peer.latency, 1.0),
            speedup(f"{what}, each of {BATCH} crops", together, 1 / peer.throughput, 1.0),
        ]
    return results


def _f1(checkpoint: Checkpoint, root: Path) -> Result:
    """F1 of an int8 file of a network of few epochs: more of its pixels are close calls than after full training."""
    exporter = Exporter(checkpoint, scored_on=find_split(checkpoint), max_f1_drop=1)
    return _share(exporter, exporter.export("onnx-int8", root / "scored.onnx"), "of ten epochs", 0.95)


def _share(exporter: Exporter, report: ExportReport, model: str, goal: float) -> Result:
    assert report.scores is not None
    assert exporter.scores is not None
    ours, peer = report.scores.mean_f1, exporter.scores.mean_f1
    what = f"export: {report.format} {model}, its mean F1 as a share of PyTorch's"
    return Result(what, ours, peer, ours / peer, goal, "at least", "F1")
