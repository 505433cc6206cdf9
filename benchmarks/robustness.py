"""Count the harm that strangers' files and sudden ends do.

How often does a command run code from a file, write elsewhere, break, hang, or silently accept damage? Takes minutes.
ROBUSTNESS_KINDS names some kinds, separated by commas.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.attack import Attack, Count, attempt
from benchmarks.attacks import Seeds, attacks
from benchmarks.harness import Result
from benchmarks.kills import QUICK, kill, kills
from faceparse.core.images.encoding import encode_png
from tests.raw import face, make_lapa

KINDS = tuple(filter(None, os.environ.get("ROBUSTNESS_KINDS", "").split(",")))
KILLS = int(os.environ.get("ROBUSTNESS_KILLS", "6"))
"""Kills of each command."""
BARS = {
    "executed": "code executed",
    "outside": "writes outside",
    "tracebacks": "tracebacks",
    "crashes": "crashes, or processes that live on",
    "hangs": "hangs over a minute",
    "passed": "damage taken for whole, or work lost",
    "leftovers": "leftovers after a rerun",
}


def run() -> list[Result]:
    """Run all attacks and kills, print a table, and return the results."""
    counts: dict[str, Count] = defaultdict(Count)
    with tempfile.TemporaryDirectory(prefix="robustness-") as name:
        os.environ |= {"HOME": name, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        seeds = _make_seeds(Path(name))
        for attack, (count, harm) in _attempts(attacks(seeds, KINDS)):
            _note(counts, attack, count, harm)
        for one in kills(seeds):
            if not KINDS or "kills" in KINDS:
                print(f"kills of {one.name} ...", file=sys.stderr)
                count, told = kill(one, seeds, KILLS)
                counts[f"kills of {one.name}"].add(count)
                print(*told, sep="\n", file=sys.stderr, end="\n" if told else "")
    _print(counts)
    total = Count()
    for count in counts.values():
        total.add(count)
    return [
        Result(f"robustness: {what}", found := getattr(total, key), total.tries, found / total.tries, 0, "at most", "")
        for key, what in BARS.items()
    ]


def _attempts(chosen: Iterable[Attack]) -> Iterator[tuple[Attack, tuple[Count, str]]]:
    """Run attacks on all cores. They are made one by one, because their files fill the memory."""
    cores = len(os.sched_getaffinity(0))
    under_way: deque[tuple[Attack, Future[tuple[Count, str]]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for one in chosen:
            under_way.append((one, pool.submit(attempt, one)))
            while len(under_way) > 2 * cores:
                attack, future = under_way.popleft()
                yield attack, future.result()
        for attack, future in under_way:
            yield attack, future.result()


def _note(counts: dict[str, Count], attack: Attack, count: Count, harm: str) -> None:
    if attack.kind not in counts:
        print(f"{attack.kind} ...", file=sys.stderr)
    counts[attack.kind].add(count)
    if harm:
        bad = ", ".join(BARS[key] for key in BARS if getattr(count, key))
        print(f"--- {attack.kind}, {attack.what}: {bad}\n{attack.arguments}\n{harm}", file=sys.stderr)


def _make_seeds(root: Path) -> Seeds:
    """Make the right files by the commands themselves."""
    _faceparse("prepare", "synthetic", root / "faces", "--count", 16, "--size", 72)
    _faceparse("edges", root / "faces")
    _train_halfway(root / "faces", root / "run")
    store = f"tracking.uri=sqlite:///{root / 'mlflow.db'}"
    _faceparse(*_training(root / "faces", root / "tracked"), "--set", "tracking.enabled=true", "--set", store)
    formats = "onnx,safetensors,torchscript,pt2"
    _faceparse(
        "export", root / "run" / "best.pth", "--format", formats, "-o", root / "exports", "--data-dir", root / "faces"
    )
    _faceparse("export", root / "run" / "best.pth", "--bundle", "-o", root / "exports" / "best.bundle")
    raw = make_lapa(root / "raw")
    _faceparse("prepare", "lapa", raw, root / "prepared")
    photograph = encode_png(face(3, (96, 80)).image)
    return Seeds(root / "faces", root / "run", root / "tracked", root / "exports", raw, root / "prepared", photograph)


def _train_halfway(faces: Path, run: Path) -> None:
    """Train one epoch of two, so that there is a best.pth, and a run to resume."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faceparse.cli", *_training(faces, run)], stderr=subprocess.DEVNULL
    )
    while not (run / "best.pth").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    if process.wait() != 143:
        raise RuntimeError("the training did not stop halfway; start the benchmark again")


def _training(faces: Path, run: Path) -> list[str]:
    where = ["--data-dir", str(faces), "--snapshot-dir", str(run)]
    return ["train", *where, "--epochs", "2", "--set", "data.workers=0", *QUICK]


def _faceparse(*arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", "faceparse.cli", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"faceparse {arguments[0]}: {done.stderr}")


def _print(counts: dict[str, Count]) -> None:
    table = Table("what", "tries", *BARS.values())
    for kind, count in counts.items():
        table.add_row(kind, str(count.tries), *(str(getattr(count, key)) for key in BARS))
    Console(width=200).print(table)
