"""Train rare classes with class weights, rare-first sampling, Dice and Lovász, in the same number of updates.

    python -m benchmarks rare

Each arm is a training run in runs/rare/<arm> that starts from the same ImageNet weights and makes as many updates of as
many photographs as the others. Ctrl-C stops the campaign, and the same command goes on with it. At the end, all
arms are scored on `val` and compared with the plain loss. RARE_EPOCHS sets the length; needs dataset/CelebAMask-HQ.
"""

import math
import os
from pathlib import Path
from typing import Any

import faceparse
from benchmarks.harness import DATASET, Result, are_here
from faceparse.core.runs.directory import BEST, LAST, is_finished
from faceparse.core.scoring.comparison import compare_summaries
from faceparse.core.scoring.scores import percent
from faceparse.core.scoring.summary import Evaluation, Summary

FOLDER = Path("runs/rare")
EPOCHS = int(os.environ.get("RARE_EPOCHS", "10"))
RARE = {"eye_g": "glasses", "hat": "hat", "ear_r": "earring", "neck_l": "necklace"}
"""Class -> its English name."""
ROWS = {f"f1/{name}": words for name, words in RARE.items()} | {"mean_f1": "mean of all classes"}

SETTINGS: dict[str, Any] = {
    "data.root": DATASET,
    "data.input_size": "160,160",
    "data.random_mirror": True,
    "data.rotation_sigma": 15.0,
    "data.color_jitter": 0.3,
    "model.backbone": "mobilenet_v2",
    "model.pretrained": "imagenet",
    "loss.scale": 1.0,
    "optim.name": "adamw",
    "optim.lr": 2e-3,
    "optim.weight_decay": 1e-2,
    "optim.schedule": "cosine",
    "optim.warmup": 40,
    "optim.clip": 5.0,
    "train.epochs": EPOCHS,
    "train.batch_size": 16,
    "train.ema": 0.99,
    "train.evaluate_every": EPOCHS,
    "train.checkpoint_every": 50,
    "tracking.enabled": False,
    "tracking.overlays": 0,
}
"""Only the last epoch is scored, so that no arm chooses an epoch on `val`."""
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "class-weights": {"loss.class_weights": "root"},
    "rare-first": {"data.rare_first": 0.3},
    "both": {"loss.class_weights": "root", "data.rare_first": 0.3},
    "dice": {"loss.dice": 1.0},
    "lovasz": {"loss.lovasz": 1.0},
}
"""Name -> settings. The first is the one that the others are compared with."""


def run() -> list[Result]:
    """Train what is not trained yet, print a table, and return the result of the two rare-class settings together."""
    if not are_here("rare classes", DATASET):
        return []
    for name, changes in ARMS.items():
        folder = FOLDER / name
        if is_finished(folder):
            continue
        if (folder / LAST).exists():
            faceparse.train(resume=folder, progress=True)
        else:
            faceparse.train(settings=SETTINGS | changes, snapshot_dir=folder, progress=True)
    scored = {name: faceparse.evaluate(FOLDER / name / BEST, split="val", worst=0, progress=True) for name in ARMS}
    print(table(scored))
    rare = {name: _mean_of_rare(one) for name, one in scored.items()}
    what = "rare: F1 of four rare classes, class weights and rare-first sampling against neither"
    both, plain = rare["both"], rare["plain"]
    times = both / plain if plain else math.inf if both else 1.0
    return [Result(what, both, plain, times, 1.0, "at least", "F1")]


def table(scored: dict[str, Evaluation]) -> str:
    """Markdown table of F1 in percent, with each difference to the first arm and its interval."""
    first, *_ = summaries = {name: _summary(one) for name, one in scored.items()}
    lines = [f"| F1 % | {' | '.join(summaries)} |", "|---" * (1 + len(summaries)) + "|"]
    for score, words in ROWS.items():
        cells = []
        for name, summary in summaries.items():
            cell = percent(summary.scores.get(score))
            if name != first and (apart := compare_summaries(summaries[first], summary)[score]).interval:
                low, high = (100 * bound for bound in apart.interval)
                cell += f" ({low:+.1f} to {high:+.1f})"
            cells.append(cell)
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _summary(evaluation: Evaluation) -> Summary:
    return next(iter(evaluation.summaries.values()))


def _mean_of_rare(evaluation: Evaluation) -> float:
    found = [_summary(evaluation).scores.f1[name] or 0.0 for name in RARE]
    return sum(found) / len(found)
