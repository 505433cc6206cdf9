"""Folders as evaluations write them, of networks that err at random."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.model_facts import ModelFile, Speed
from faceparse.core.scoring.records import count_image
from faceparse.core.scoring.report_files import evaluation_files, write_folder
from faceparse.core.scoring.summary import Evaluation, Summary
from tests.core.scoring.images import stacked

LABELS = LabelSet(
    name="x", side="none", classes={"background": "#000000", "<b>&": "#ff0000", "c": "#00ff00"}, merged={}
)
DATA = "0123456789abcdef"


def made(
    seed: int = 0, *, errors: float = 0.3, protocol: str = "eagrnet", resamples: int = 50, **said: Any
) -> Evaluation:
    """An evaluation on the same twelve images, whatever the seed, which is that of the errors."""
    truths, random = np.random.default_rng(99), np.random.default_rng(seed)
    counts = []
    for _ in range(12):
        truth = truths.integers(0, 3, (24, 20)).astype(np.uint8)
        wrong = random.random(truth.shape) < errors * random.uniform(0.5, 1.5)
        counts.append(count_image(truth, np.where(wrong, 0, truth).astype(np.uint8), 3))
    evaluation = Evaluation(
        checkpoint=f"runs/{seed}/best.pth",
        epoch=3,
        dataset=Path("data/Faces"),
        split="test",
        input_size=(64, 48),
        tta="",
        label_set=LABELS,
        ids=[str(i) for i in range(12)],
        summaries={protocol: Summary(stacked(counts), LABELS, resamples)},
        worst=[],
        fingerprint=DATA,
        licence="cc-by-4.0",
        model_file=ModelFile(bytes=2_500_000 + seed, sha256=f"{seed:064x}"),
        speed=Speed(seconds_per_image=0.0123, device="A processor", threads=2),
    )
    return dataclasses.replace(evaluation, **said)


def write(folder: Path, evaluation: Evaluation) -> Path:
    """Write its folder; return the scores.json in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(folder, evaluation_files(evaluation))
    return folder / "scores.json"
