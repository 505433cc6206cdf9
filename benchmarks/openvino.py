"""Compare OpenVINO with ONNX Runtime on the shipped network: speed on the CPU, and the F1 of each precision.

`CELEBAMASK_HQ` names the prepared dataset, whose `val` is scored; without one, speed alone is measured.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.harness import DATASET, Result, are_here, speedup
from faceparse.commands.console import silent_libraries
from faceparse.core.export.export import Exporter, ExportReport, read_exportable
from faceparse.core.export.formats import FORMATS
from faceparse.core.export.latency import BATCH, measure
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.scoring.split import find_split

PAIRS = {"openvino": "onnx", "openvino-fp16": "onnx-fp16", "openvino-int8": "onnx-int8"}
"""Format -> the one of ONNX Runtime that it is compared with."""
FOLDER = Path(os.environ.get("CELEBAMASK_HQ", DATASET))
PHOTOGRAPHS = int(os.environ.get("EXPORT_PHOTOGRAPHS", "200"))
"""Photographs of `val` that are scored."""
THREADS = 2
"""Threads of each runtime."""


def run() -> list[Result]:
    """Export the shipped model and measure its files."""
    silent_libraries()
    torch.set_num_threads(THREADS)
    scored = are_here("F1 and int8 of OpenVINO's files", FOLDER)
    checkpoint = read_exportable(DEFAULT)
    split = find_split(checkpoint, data_dir=FOLDER, split="val") if scored else None
    if split is not None:
        split = replace(split, samples=split.samples[:PHOTOGRAPHS])
    exporter = Exporter(checkpoint, scored_on=split, max_f1_drop=None if split is None else 1)
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in (*PAIRS, *PAIRS.values()) if scored or not FORMATS[name].calibrated]
        reports = {name: exporter.export(name, Path(folder) / f"model{FORMATS[name].suffix}") for name in names}
        return _speeds(exporter, reports) + (_scores(exporter, reports) if scored else [])


def _speeds(exporter: Exporter, reports: Mapping[str, ExportReport]) -> list[Result]:
    """Times as fast as ONNX Runtime. There is no goal: it depends on the processor."""
    height, width = exporter.network.input_size
    speeds = measure({name: report.model.network(exporter.device) for name, report in reports.items()})
    results = []
    for name, peer in PAIRS.items():
        if name in speeds:
            what = f"{name}, {DEFAULT} at {height} x {width}, times as fast as {peer}"
            ours, theirs = speeds[name], speeds[peer]
            results += [
                speedup(f"{what}, one crop", ours.latency, theirs.latency, 0.0),
                speedup(f"{what}, each of {BATCH} crops", 1 / ours.throughput, 1 / theirs.throughput, 0.0),
            ]
    return results


def _scores(exporter: Exporter, reports: Mapping[str, ExportReport]) -> list[Result]:
    assert exporter.scores is not None
    peer = exporter.scores.mean_f1
    results = []
    for name, report in reports.items():
        assert report.scores is not None
        ours, goal = report.scores.mean_f1, 0.98 if FORMATS[name].calibrated else 0.999
        what = f"{name} of {DEFAULT}, its mean F1 as a share of PyTorch's"
        results.append(Result(what, ours, peer, ours / peer, goal, "at least", "F1"))
    return results
