"""Compare `predict` on a folder with decoding, the network and encoding alone; and its outputs in parts with files."""

import os
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Result, medians, one_thread
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.prediction.prediction import plan_prediction
from faceparse.core.settings import DataSettings, ModelSettings

PHOTOGRAPHS = 32
SMALL_PHOTOGRAPHS, SMALL_SIDE = 500, 128
BATCH = 4
SIZE = (500, 400)


def run() -> list[Result]:
    """Measure the rate of `predict`, and the times of `--to`."""
    return [_rate(), *_parts()]


def _rate() -> Result:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with one_thread(), tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder)
        faces = Synthetic(count=PHOTOGRAPHS, size=max(SIZE))
        labels = []
        for item in faces.items():
            raw = faces.load(item)
            write_atomic(root / "photographs" / f"{item.id}.jpg", encode_jpeg(raw.image[: SIZE[0], : SIZE[1]]))
            labels.append(np.ascontiguousarray(raw.label[: SIZE[0], : SIZE[1]]))
        label_set = get_label_set("helen")
        network = build_model(ModelSettings(backbone="resnet18"), len(label_set)).eval()
        parser = Parser(ParsingNetwork(network, DataSettings(input_size=(225, 161))), torch.device("cpu"))
        crops = torch.zeros(BATCH, 225, 161, 3, dtype=torch.uint8)
        paths = sorted((root / "photographs").iterdir())
        fresh = (root / f"out{i}" for i in count())

        def ours() -> None:
            plan = plan_prediction([str(root / "photographs")], next(fresh), label_set=label_set, model="")
            assert plan.run(parser, batch_size=BATCH).photographs == PHOTOGRAPHS

        def floor() -> None:
            images = [read_image(path) for path in paths]
            for _ in range(PHOTOGRAPHS // BATCH):
                parser.logits(crops)
            for image, label in zip(images, labels, strict=True):
                encode_jpeg(image)
                encode_png(label)

        taken, least = medians(ours, floor, rounds=5)
    what = "predict: its rate as a share of decoding, the network and encoding alone"
    return Result(what, taken / PHOTOGRAPHS, least / PHOTOGRAPHS, least / taken, 0.9, "at least")


def _parts() -> list[Result]:
    """Small photographs on a disk, a small network: much of the time goes into outputs."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        faces = Synthetic(count=SMALL_PHOTOGRAPHS, size=SMALL_SIDE)
        for item in faces.items():
            write_atomic(root / "photographs" / f"{item.id}.jpg", encode_jpeg(faces.load(item).image))
        label_set = get_label_set("helen")
        network = build_model(ModelSettings(backbone="mobilenet_v2", heads="light"), len(label_set)).eval()
        parser = Parser(ParsingNetwork(network, DataSettings(input_size=(64, 64))), torch.device("cpu"))
        fresh = (root / f"out{i}" for i in count())

        def save(to: str, kinds: str = "labels") -> None:
            typed, out = [str(root / "photographs")], next(fresh)
            plan = plan_prediction(typed, out, label_set=label_set, model="", save=kinds, to=to, faces="none")
            assert plan.run(parser, batch_size=BATCH).photographs == SMALL_PHOTOGRAPHS

        forms = ("parquet", "webdataset")
        files, *times = medians(partial(save, "files", "labels,json"), *(partial(save, to) for to in forms), rounds=5)
    return [
        Result(
            f"predict --to {to}: its time against --save labels,json",
            taken / SMALL_PHOTOGRAPHS,
            files / SMALL_PHOTOGRAPHS,
            taken / files,
            1.0,
            "at most",
        )
        for to, taken in zip(forms, times, strict=True)
    ]
