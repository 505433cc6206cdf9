"""Kill `predict` at random moments until it is done; and time a rerun that has nothing to do.

python -m benchmarks.predict_kills [KILLS [PHOTOGRAPHS]]
"""

import random
import re
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import torch

from benchmarks.attack import hidden
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.prediction.made_with import origin_of
from faceparse.core.prediction.prediction import plan_prediction
from faceparse.core.prediction.prediction_ledger import Entry, open_ledger

OPTIONS = shlex.split("photos -o out --faces none --device cpu --batch-size 2 --resume")
WAYS = {
    "files": shlex.split("--save labels,overlays,json,coco"),
    "parquet": shlex.split("--to parquet --save labels,coco"),
}


def main(kills: int = 20, photographs: int = 50_000) -> None:
    """Print what was found."""
    with tempfile.TemporaryDirectory(prefix="predict-kills-") as name:
        for way in WAYS:
            print(kill(Path(name) / way, kills, way))
        print(rerun(Path(name) / "rerun", photographs))


def kill(folder: Path, kills: int, way: str, seed: int = 0) -> str:
    """Kill one command `kills` times, each time a random moment after it has begun to note, then let it end."""
    count = 12 * kills
    faces = Synthetic(count=count, size=160)
    for item in faces.items():
        write_atomic(folder / "photos" / f"{item.id}.jpg", encode_jpeg(faces.load(item).image))
    dice, killed = random.Random(seed), 0
    for _ in range(kills):
        process = _start(folder, way)
        states = {_written(folder)}
        while process.poll() is None and len(states) < 8:  # the first ones are of the tables
            time.sleep(0.001)
            states.add(_written(folder))
        time.sleep(dice.uniform(0, 1))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    kept = _rows(folder)
    process = _start(folder, way)
    text = process.communicate()[0]
    found = re.search(r"out: (\d+) parsed(?:, (\d+) before)?", text)
    assert process.returncode == 0, text
    assert found, text
    parsed, done = int(found[1]), int(found[2] or 0)
    whole = _outputs(folder / "out")
    (folder / "out").rename(folder / "killed")
    last = _start(folder, way)
    last.communicate()
    assert last.returncode == 0
    same = _outputs(folder / "out") == whole
    return (
        f"{way}: {killed} kills in work, {count} photographs: {done} done before the last command, {kept} noted, "
        f"{parsed} parsed by it; each once, and equal to an undisturbed run: {same}; left over: {len(hidden(folder))}"
    )


def rerun(folder: Path, photographs: int) -> str:
    """Time `--resume` on a folder in which everything is done; photographs and outputs are made by code."""
    (folder / "photos").mkdir(parents=True)
    for kind in ("labels", "overlays"):
        (folder / "out" / kind).mkdir(parents=True)
    for n in range(photographs):
        (folder / "photos" / f"{n}.jpg").write_bytes(b"x")
        (folder / "out" / "labels" / f"{n}.png").write_bytes(b"x")
        (folder / "out" / "overlays" / f"{n}.jpg").write_bytes(b"x")
    model = load_model_from()
    parser = load_parser(model, torch.device("cpu"))
    arguments = {"label_set": model.label_set, "model": "", "faces": "none", "resume": True}
    plan = plan_prediction([str(folder / "photos")], folder / "out", **arguments)  # type: ignore[arg-type]
    origin = {**origin_of(model), **plan.options, "--input-size": ",".join(map(str, parser.input_size))}
    started = time.perf_counter()
    with open_ledger(folder / "out", origin, []) as ledger:
        for source in plan.inputs.photographs:
            ledger.note(source.name, Entry(source.path, source.stamp, size=(1, 1)))
    noting = time.perf_counter() - started
    started = time.perf_counter()
    plan = plan_prediction([str(folder / "photos")], folder / "out", **arguments)  # type: ignore[arg-type]
    gathered = time.perf_counter() - started
    report = plan.run(parser, origin=origin_of(model))
    took = time.perf_counter() - started
    assert (report.photographs, report.before) == (0, photographs)
    return (
        f"{photographs} photographs done: noted in {noting:.1f} s; a rerun without anything to do takes {took:.1f} s, "
        f"{gathered:.1f} s of them to find the photographs"
    )


def _start(folder: Path, way: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "faceparse.cli", "predict", *OPTIONS, *WAYS[way]]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _written(folder: Path) -> tuple[int, int] | None:
    """State of the ledger's newest rows on the disk."""
    try:
        state = (folder / "out" / "ledger" / "all.sqlite-wal").stat()
    except FileNotFoundError:
        return None
    return state.st_size, state.st_mtime_ns


def _rows(folder: Path) -> int:
    """Number of photographs whose outputs the ledger names or keeps."""
    with closing(sqlite3.connect(folder / "out" / "ledger" / "all.sqlite")) as rows:
        tables = ("photographs", "open_part")
        return sum(rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def _outputs(folder: Path) -> dict[str, object]:
    """Content of each file; of parts, each photograph's row."""
    found = dict[str, object]()
    for path in (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "ledger"):
        if path.suffix != ".parquet":
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
            continue
        for row in pyarrow.parquet.read_table(path).to_pylist():
            assert row["name"] not in found, f"{row['name']} stands twice"
            found[row["name"]] = row
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
