"""Kill `predict` at random moments until it is done; and time a rerun that has nothing to do.

python -m benchmarks.predict_kills [KILLS [PHOTOGRAPHS]]
"""

import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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

OPTIONS = shlex.split(
    "photos -o out --faces none --save labels,overlays,json,coco --device cpu --batch-size 2 --resume"
)


def main(kills: int = 20, photographs: int = 50_000) -> None:
    """Print what was found."""
    with tempfile.TemporaryDirectory(prefix="predict-kills-") as name:
        print(kill(Path(name) / "kills", kills))
        print(rerun(Path(name) / "rerun", photographs))


def kill(folder: Path, kills: int, seed: int = 0) -> str:
    """Kill one command `kills` times, each time a random moment after it has begun to write, then let it end."""
    count = 12 * kills
    faces = Synthetic(count=count, size=160)
    for item in faces.items():
        write_atomic(folder / "photos" / f"{item.id}.jpg", encode_jpeg(faces.load(item).image))
    dice, lost, again = random.Random(seed), 0, 0
    for _ in range(kills):
        process = _start(folder)
        made = len(_times(folder))
        while process.poll() is None and len(_times(folder)) == made:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 1))
        process.kill()
        process.communicate()
    before = _times(folder)
    process = _start(folder)
    text = process.communicate()[0]
    found = re.search(r"out: (\d+) parsed(?:, (\d+) before)?", text)
    assert process.returncode == 0, text
    assert found, text
    parsed, done = int(found[1]), int(found[2] or 0)
    after = _times(folder)
    again = sum(after[path] != at for path, at in before.items())
    lost = len(before) - done
    whole = _tree(folder / "out")
    (folder / "out").rename(folder / "killed")
    assert _start(folder).wait() == 0
    same = _tree(folder / "out") == whole
    left = hidden(folder)
    return (
        f"{kills} kills, {count} photographs: {parsed} parsed by the last command, {done} before; {lost} in flight at "
        f"the last kill, {again} written again; equal to an undisturbed run byte for byte: {same}; left "
        f"over: {len(left)}"
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


def _start(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "faceparse.cli", "predict", *OPTIONS]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "out" / "json").glob("*.json")}


def _tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "ledger")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
