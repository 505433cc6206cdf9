"""Compare how many faces the model itself and YuNet find, on composites whose faces are known.

    python -m benchmarks finding

Needs dataset/CelebAMask-HQ, and pictures without faces in dataset/backgrounds/report. YuNet takes part where its file
lies in ../shared/data, or YUNET names it. A face counts as found where the mean error of eyes and mouth corners is
below 0.15 of the distance between the eyes. Faces with a point outside the picture or covered by another photograph do
not count. The finder's threshold was chosen on the other half of `val` and on other pictures.
"""

import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.composites import HEIGHT, Composite, Placed, composites
from benchmarks.harness import BACKGROUNDS, DATASET, YUNET, Result, overhead
from faceparse.core.api import FaceParser
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.faces.face import Face
from faceparse.core.faces.finders_from_files import YuNet
from faceparse.core.faces.own_finder import own_finder
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.scoring.scores import compute_scores

MODEL = os.environ.get("MODEL", "celebamask-hq-light")
PICTURES = int(os.environ.get("FINDING_PICTURES", "200"))
FOUND = 0.15
"""Largest mean error of a found face, in distances between the eyes."""
SIZES, ANGLES = (0.08, 0.12, 0.2, 0.35, 0.6), (0, 15, 30, 45)


def run() -> list[Result]:
    """Find faces in all composites, print tables, and return the results."""
    model = load_model_from(MODEL)
    parser = load_parser(model, model.device("cpu"))
    own = own_finder(parser, model.geometry, model.label_set)
    assert own is not None, "the model's training pictures are not aligned"
    finders: dict[str, Callable[[str, np.ndarray], list[Face]]] = {"own": own}
    if YUNET.is_file():
        finders["YuNet"] = YuNet(YUNET)
    whole = FaceParser(parser, model.label_set, model.geometry)
    tables: dict[str, Any] = {name: [] for name in finders}
    alarms, seconds = dict.fromkeys(finders, 0), {name: list[float]() for name in finders}
    classes = len(model.label_set)
    counts = {(size, angle): np.zeros((classes, classes), np.int64) for size in SIZES[:-1] for angle in ANGLES[:-1]}
    samples = DatasetFolder(DATASET).samples("val")[1::2]
    for composite in composites(PICTURES, samples, BACKGROUNDS, model.label_set, seed=1):
        for name, finder in finders.items():
            started = time.perf_counter()
            found = finder("", composite.image)
            seconds[name].append(time.perf_counter() - started)
            errors, false = match(found, composite)
            tables[name] += errors
            alarms[name] += false
        _count(counts, whole, composite)
    results = []
    for name, errors in tables.items():
        print(
            f"\n{name}: {alarms[name]} false alarms in {PICTURES} pictures, {np.median(seconds[name]):.2f} s a picture"
        )
        _print(errors)
        near = _recall(errors, 0.12, 30)
        far = _recall(errors, 0.08, 45)
        results += [
            _share(f"finding ({name}): recall from 12 % of the height, up to 30 degrees", near, 0.98),
            _share(f"finding ({name}): recall from 8 % of the height, up to 45 degrees", far, 0.9),
            Result(
                f"finding ({name}): false alarms a picture",
                alarms[name],
                PICTURES,
                alarms[name] / PICTURES,
                0.01,
                "at most",
                "",
            ),
        ]
    results.append(overhead("finding (own): a picture, against a second", float(np.median(seconds["own"])), 1.0, 1.0))
    print("\nmean F1 of the labels, by the face's height and angle")
    for size, longest in pairwise(SIZES):
        cells = [compute_scores(counts[size, angle], model.label_set).mean_f1 for angle in ANGLES[:-1]]
        total = compute_scores(np.sum([counts[size, angle] for angle in ANGLES[:-1]], axis=0), model.label_set).mean_f1
        print(f"| {size:.0%} to {longest:.0%} | {' | '.join(f'{cell:.3f}' for cell in cells)} | {total:.3f} |")
    return results


def match(found: list[Face], composite: Composite) -> tuple[list[tuple[Placed, float | None]], int]:
    """Each face that counts with its error, None where it was not found; and the number of false alarms."""
    errors, used = [], set()
    for placed in composite.faces:
        apart = [_error(face, placed) for face in found]
        near = [position for position, error in enumerate(apart) if error < 1]
        used.update(near)  # a face that is found slightly off counts as an error, not as a false alarm
        best = min(apart, default=9.0)
        if placed.whole:
            errors.append((placed, best if best < FOUND else None))
    return errors, len(found) - len(used)


def _error(face: Face, placed: Placed) -> float:
    """Mean distance of eyes and mouth corners, in distances between the eyes."""
    assert face.points is not None
    four = [0, 1, 3, 4]  # without the nose: landmarks mark its tip, labels the middle of its pixels
    apart = np.linalg.norm((face.points - placed.points)[four], axis=1).mean()
    return float(apart / np.linalg.norm(placed.points[1] - placed.points[0]))


def _count(counts: dict[tuple[float, int], np.ndarray], parser: FaceParser, composite: Composite) -> None:
    """Add the confusion of each face's visible photograph to the counts of its size and angle."""
    labels = parser.predict(composite.image).labels
    for face in composite.faces:
        size = max(size for size in SIZES[:-1] if size <= face.share)
        angle = max(angle for angle in ANGLES[:-1] if angle <= face.angle)
        counts[size, angle] += confusion_counts(
            composite.label[face.visible][None], labels[face.visible][None], len(counts[size, angle])
        )


def _recall(errors: list[tuple[Placed, float | None]], least: float, most: float) -> tuple[int, int]:
    chosen = [error for face, error in errors if face.share >= least and face.angle <= most]
    return sum(error is not None for error in chosen), len(chosen)


def _share(what: str, found: tuple[int, int], goal: float) -> Result:
    return Result(what, found[0], found[1], found[0] / max(found[1], 1), goal, "at least", "")


def _print(errors: list[tuple[Placed, float | None]]) -> None:
    print("| height | pixels | " + " | ".join(f"{low}-{high} deg" for low, high in pairwise(ANGLES)) + " |")
    for low, high in pairwise(SIZES):
        cells = []
        for left, right in pairwise(ANGLES):
            chosen = [error for face, error in errors if low <= face.share < high and left <= face.angle < right]
            good = [error for error in chosen if error is not None]
            cells.append(f"{len(good)}/{len(chosen)} ({np.mean(good) if good else 0:.3f})")
        print(f"| {low:.0%} to {high:.0%} | {low * HEIGHT:.0f} | " + " | ".join(cells) + " |")
