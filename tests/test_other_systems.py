"""faceparse on systems that lack what Linux has: tests/elsewhere/sitecustomize.py takes it away."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TINY = [
    *("--input-size", "64,64", "--epochs", "1", "--batch-size", "4", "--device", "cpu"),
    *("--set", "model.backbone=mobilenet_v2", "--set", "tracking.overlays=1"),
]
CODE = """
import json, os, sys
from faceparse.cli import run
if __name__ == "__main__":
    for command in json.loads(sys.argv[1]):
        print("$", *command, flush=True)
        print(">", run(command), flush=True)
"""
MAKE = ["prepare", "synthetic", "faces", "--count", "20", "--size", "64", "--processes", "1"]
TRAIN = ["train", "--data-dir", "faces", "--snapshot-dir", "run", *TINY]


def environment(system: str, **more: str) -> dict[str, str]:
    path = f"{Path(__file__).parent / 'elsewhere'}{os.pathsep}{ROOT}"
    return os.environ | {"PRETEND_SYSTEM": system, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more


def commands(system: str, *typed: list[str], store: str = "") -> tuple[list[int], str, str]:
    """Run commands in one process of that system: their exit codes, their output, their messages."""
    variables = environment(system, **({"MLFLOW_TRACKING_URI": store} if store else {}))
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(typed)], capture_output=True, text=True, timeout=600, env=variables
    )
    assert done.returncode == 0, done.stderr
    codes = [int(line[2:]) for line in done.stdout.splitlines() if line.startswith("> ")]
    return codes, done.stdout, done.stderr


def test_everything_that_takes_one_process_works_without_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """As on Windows: without locks, signals, shared memory, `/proc`; a file that is open stays where it is."""
    monkeypatch.chdir(tmp_path)
    picture = "faces/images/face_00000.jpg"
    codes, out, err = commands(
        "windows",
        MAKE,
        ["edges", "faces", "--processes", "1"],
        ["check", "faces", "--processes", "1"],
        [*TRAIN, "--set", "data.workers=1"],
        [*TRAIN[:4], "run2", *TINY, "--set", "data.workers=0", "--set", "data.cache=off"],
        ["train", "--resume", "run"],
        ["eval", "run/best.pth", "--device", "cpu"],
        ["predict", "run/best.pth", picture, "--faces", "none", "--output", "out", "--device", "cpu"],
        ["export", "run/best.pth", "--format", "onnx", "--output", "face.onnx"],
        ["predict", "face.onnx", picture, "--faces", "none", "--output", "out2"],
        ["runs"],
        ["doctor"],
        [*TRAIN, "--set", "data.cache=on"],
        [*TRAIN[:4], "run3", *TINY, "--processes", "2"],
        store=store,
    )
    assert codes == [0] * 12 + [2, 2], (out, err)
    assert "files are decoded anew each epoch: the cache needs Linux" in err
    assert "error: data.cache = 'on': the cache needs Linux; use auto or off" in err
    assert "error: 2 training processes: more than one needs Linux; leave out --processes and --nodes" in err
    assert "Traceback" not in err
    assert {"best.pth", "last.pth", "metrics.jsonl"} <= {path.name for path in Path("run").iterdir()}
    assert not [*Path().rglob(".faceparse-*")]  # nothing is half written


def test_a_mac_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks and fork are there; `/proc`, shared memory without a name, and the number of usable cores are not."""
    monkeypatch.chdir(tmp_path)
    codes, out, err = commands("macos", ["--help"], MAKE, [*TRAIN, "--set", "tracking.enabled=false"])
    assert codes == [0, 0, 0], (out, err)
    assert "files are decoded anew each epoch: the cache needs Linux" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import faceparse.core.files.locks as m; print(m.have_locks())", "False"),
        ("import faceparse.core.machine.parallel as m; print(hasattr(m.os, 'sched_getaffinity'))", "False"),
        ("import faceparse.core.files.leftovers as m; print(hasattr(m.os, 'O_NOFOLLOW'))", "False"),
        ("import os; print(hasattr(os, 'sched_getaffinity'))", "True"),  # taken from faceparse alone
        ("from faceparse.core.machine.memory import free_memory; print(free_memory())", "0"),
    ],
)
def test_what_is_taken_away_is_gone(code: str, expected: str) -> None:
    """Else the tests above would prove nothing."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment("windows"), timeout=120
    )
    assert done.stdout.strip() == expected, done.stderr


def test_an_open_file_cannot_be_replaced_there(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from faceparse.core.runs import directory\n"
        "code = compile('def move(a, b):\\n    a.replace(b)', '/faceparse/stand_in.py', 'exec')\n"
        "exec(code)\n"
        "a, b = Path('a'), Path('b')\n"
        "file = a.open('w')\n"
        "try:\n    move(a, b)\nexcept PermissionError:\n    print('held')\n"
        "file.close()\nmove(a, b)\nprint(b.exists())"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        env=environment("windows"),
        cwd=tmp_path,
        timeout=120,
    )
    assert done.stdout.split() == ["held", "True"], done.stderr
