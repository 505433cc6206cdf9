"""Compare `predict --ray` on a cluster of this machine with one process, and two actors with one.

Starting is not counted: rates are those after the first quarter of the photographs.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from benchmarks.harness import Result, one_thread, speedup
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.export.model_bytes import model_bytes
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.prediction.parsed_photographs import PhotographParser
from faceparse.core.prediction.photograph_states import Saved
from faceparse.core.prediction.prediction import plan_prediction
from faceparse.core.prediction.ray_photographs import RayPool
from faceparse.core.prediction.saved_photographs import saved_photographs

PHOTOGRAPHS, SIDE, BATCH, ROUNDS = 120, 320, 4, 3


def run() -> list[Result]:
    """Measure the time of a photograph in each way; medians of rounds in turn."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with one_thread(), tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder)
        faces = Synthetic(count=PHOTOGRAPHS, size=SIDE)
        for item in faces.items():
            write_atomic(root / "photographs" / f"{item.id}.jpg", encode_jpeg(faces.load(item).image))
        model = load_model_from()
        plan = plan_prediction(
            [str(root / "photographs")], root / "out", label_set=model.label_set, model="", faces="none"
        )
        plan.outputs.folder.mkdir()
        parser = PhotographParser(load_parser(model, torch.device("cpu")), batch_size=BATCH)
        content = model_bytes(model)

        def alone() -> Iterable[Saved]:
            return saved_photographs(parser, plan.inputs.photographs, plan.outputs)

        def on_ray(actors: int) -> Iterable[Saved]:
            pool = RayPool("local", content.opened, actors, device="cpu")
            with pool.joined():
                yield from pool.saved_photographs(
                    plan.inputs.photographs, plan.outputs, None, 1, batch_size=BATCH, tell=print
                )

        ways: tuple[Callable[[], Iterable[Saved]], ...] = (alone, lambda: on_ray(1), lambda: on_ray(2))
        times = [[_seconds(way()) for way in ways] for _ in range(ROUNDS)]
    one, single, double = (statistics.median(column) for column in zip(*times, strict=True))
    return [
        speedup("predict --ray, one actor: its rate as a share of one process's", single, one, 0.8),
        speedup("predict --ray, two actors: their rate against one", double, single, 1.5),
    ]


def _seconds(saved: Iterable[Saved]) -> float:
    """Seconds of a photograph, after the first quarter of them."""
    begin = PHOTOGRAPHS // 4
    moments = [time.perf_counter() for _ in saved]
    assert len(moments) == PHOTOGRAPHS
    return (moments[-1] - moments[begin - 1]) / (PHOTOGRAPHS - begin)
