"""Measure whether the photographs that `uncertain` chooses are worth more labels than photographs chosen at random.

    faceparse prepare fasseg FASSEG-repository/V2 dataset/FASSEG
    python -m benchmarks.labelling_loop dataset/FASSEG build/labelling-loop [RUNS]

FASSEG's 64 photographs are dealt anew, since twelve leave nothing to choose from: 42 as the pool, 20 as the test, its
own two of `val`, which decide nothing. Each seed draws six photographs of the pool and fine-tunes the shipped model on
them. Six more are chosen from the rest: by that model's uncertainty, or at random. All trainings have as many updates.
Each of them is a run in the folder, and what is there already is not trained again: RUNS says how many to do now. When
all are done, the folder gets `labelling-loop.svg`: the curve of F1 by number of labels, as the documentation shows it.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import faceparse
from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.files.writing import write_atomic
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.prediction.rank_uncertain import plan_choice

SEEDS = tuple(range(int(os.environ.get("LOOP_SEEDS", "5"))))
START, MORE, POOL = 6, 6, 42
UPDATES = int(os.environ.get("LOOP_UPDATES", "84"))
RECIPE, CROP = "experiments/fasseg-light.toml", (160, 128)
"""The recipe, at half its crop's sides: a training takes a fifth of the time."""
WAYS = ("uncertain", "random")


class Loop:
    """The trainings of one folder."""

    def __init__(self, dataset: Path, folder: Path, runs: int) -> None:
        whole = DatasetFolder(dataset)
        every = sorted([*whole.samples("train"), *whole.samples("test")], key=lambda one: one.id)
        order = np.random.default_rng(0).permutation(len(every))
        dealt = [every[i] for i in order]
        self.pool, self.test, self.val = dealt[:POOL], dealt[POOL:], whole.samples("val")
        self.dataset, self.folder, self.left = dataset, folder, runs

    def start(self, seed: int) -> list[Sample]:
        """The first photographs to be labelled."""
        chosen = np.random.default_rng(seed).permutation(POOL)[:START]
        return [self.pool[i] for i in chosen]

    def more(self, seed: int, way: str) -> list[Sample] | None:
        """The photographs to be labelled next; None where that is not known yet."""
        rest = [one for one in self.pool if one not in self.start(seed)]
        if way == "random":
            return [rest[i] for i in np.random.default_rng([seed, 1]).permutation(len(rest))[:MORE]]
        place = self.folder / f"start-{seed}"
        if not (place / "f1.json").exists():
            return None
        model = load_model_from(place / "run" / "best.pth")
        plan = plan_choice(
            [str(one.image) for one in rest], place / "uncertain.csv", label_set=model.label_set, first=MORE
        )
        report = plan.run(load_parser(model, model.device("cpu")), geometry=model.geometry)
        paths = [one.source.where for one in report.chosen]
        return [one for one in rest if str(one.image) in paths]

    def score(self, name: str, train: Sequence[Sample] | None) -> float | None:
        """F1 on the test after training on these photographs; None where it is not known yet."""
        place = self.folder / name
        done = place / "f1.json"
        if not done.exists():
            if train is None or self.left == 0:
                return None
            self.left -= 1
            shutil.rmtree(place / "run", ignore_errors=True)  # of a training that was killed
            self._link(place / "data", train)
            run = faceparse.train(
                {
                    **_recipe(),
                    "data.root": str(place / "data"),
                    "data.input_size": CROP,
                    "data.workers": 0,
                    "train.run_dir": str(place / "run"),
                    "train.epochs": UPDATES // (len(train) // START),
                    "train.evaluate_every": 10_000,
                    "train.device": "cpu",
                    "tracking.enabled": False,
                }
            )
            scored = faceparse.evaluate(run.best, place / "data", bootstrap=0, worst=0)
            write_atomic(done, json.dumps(100 * scored.scores["eagrnet"].mean_f1).encode())
            print(f"{name}: {len(train)} photographs, F1 {json.loads(done.read_text()):.2f}", flush=True)
        return float(json.loads(done.read_text()))

    def _link(self, root: Path, train: Sequence[Sample]) -> None:
        """A dataset with these photographs to train on."""
        for split, samples in (("train", train), ("val", self.val), ("test", self.test)):
            lines = []
            for one in samples:
                files = [file for file in (one.image, one.label) if isinstance(file, Path)]  # loose, not in shards
                for file in files:
                    target = root / file.relative_to(self.dataset)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if not target.exists():
                        target.hardlink_to(file)
                lines.append(" ".join(str(file.relative_to(self.dataset)) for file in files))
            write_atomic(root / f"{split}_list.txt", ("\n".join(lines) + "\n").encode())
        for name in ("label_set.toml", "label_names.txt"):
            write_atomic(root / name, (self.dataset / name).read_bytes())


def chart(table: Mapping[str, Sequence[float]]) -> str:
    """An SVG: mean F1 by number of labels on a logarithmic axis, a line for each way, and a point for each draw."""
    every = [score for scores in table.values() for score in scores]
    bottom, top = np.floor(2 * min(every)) / 2, np.ceil(2 * max(every)) / 2
    counts = (START, START + MORE, POOL)
    places = dict(zip(counts, np.interp(np.log(counts), np.log([START, POOL]), [70, 500]), strict=True))

    def y(score: float) -> float:
        return float(260 - 220 * (score - bottom) / (top - bottom))

    parts = []
    for tick in np.arange(bottom, top + 0.25, 0.5):
        parts.append(f'<path d="M50 {y(tick):.1f}H520" stroke="#ddd"/>')
        parts.append(f'<text x="42" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.1f}</text>')
    for labels, x in places.items():
        parts.append(f'<text x="{x:.1f}" y="282" text-anchor="middle">{labels}</text>')
    parts.append('<text x="285" y="304" text-anchor="middle">labelled photographs</text>')
    parts.append('<text x="50" y="22">mean F1 on 20 test photographs, percent</text>')
    for place, (way, colour) in enumerate(zip(WAYS, ("#0072b2", "#d55e00"), strict=True)):
        rows = {START: table["6"], START + MORE: table[f"12, {way}"], POOL: table["all"]}
        points = " ".join(f"{places[labels]:.1f},{y(float(np.mean(scores))):.1f}" for labels, scores in rows.items())
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{places[labels] + 8 * place - 4:.1f}" cy="{y(score):.1f}" r="3" fill="{colour}"/>'
            for labels, scores in rows.items()
            for score in scores
        ]
        parts.append(f'<text x="400" y="{200 + 20 * place}" fill="{colour}">{way}</text>')
    style = 'font-family="sans-serif" font-size="13" fill="#222"'
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 320" {style}>\n'
        f'<rect width="540" height="320" fill="#fff"/>\n{inside}\n</svg>\n'
    )


def _recipe() -> dict[str, object]:
    import tomllib

    tables = tomllib.loads(Path(RECIPE).read_text("utf-8"))
    return {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}


def main(dataset: Path, folder: Path, runs: int) -> None:
    """Do at most so many trainings, and print the table of what is known."""
    loop = Loop(dataset, folder, runs)
    table: dict[str, list[float]] = {}
    for seed in SEEDS:
        start = loop.start(seed)
        rows = {f"{START}": (f"start-{seed}", start)}
        scores = {"6": loop.score(*rows["6"])}
        for way in WAYS:
            done = (folder / f"{way}-{seed}" / "f1.json").exists()
            more = start if done else loop.more(seed, way)
            scores[f"12, {way}"] = loop.score(f"{way}-{seed}", None if more is None else [*start, *more])
        for name, score in scores.items():
            if score is not None:
                table.setdefault(name, []).append(score)
    if (score := loop.score("all", loop.pool)) is not None:
        table["all"] = [score]
        write_atomic(folder / "labelling-loop.svg", chart(table).encode())
    print("| photographs | mean F1 | each seed |\n|---|---|---|")
    for name, found in table.items():
        print(f"| {name} | {np.mean(found):.2f} | {', '.join(f'{one:.2f}' for one in found)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1_000)
