"""Runs in several real processes, one of which dies, stalls, or is cut off."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.inference import load_parser
from faceparse.core.scoring.counting import evaluate
from faceparse.core.scoring.scores import compute_scores
from faceparse.core.settings import to_toml
from tests.conftest import Tiny
from tests.core.training.recorded import comparable
from tests.core.training.test_interruptions import ENVIRONMENT, assert_like, await_checkpoint, heed_ctrl_c, iterations

ROOT = Path(__file__).parents[3]
EPOCHS, ITERATIONS = 6, 3
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("launch")


def command(faces: Path, run_dir: str, *options: object) -> list[str]:
    return list(map(str, [
        sys.executable, "-m", "faceparse.cli", "train", "--data-dir", faces, "--snapshot-dir", run_dir,
        "--epochs", EPOCHS, "--batch-size", 2, "--input-size", "32,32", "--device", "cpu",
        "--set", "model.backbone=mobilenet_v2", "--set", "data.workers=0",
        "--set", "tracking.enabled=false", "--set", "tracking.overlays=0", "--set", "train.checkpoint_every=1",
        *options,
    ]))  # fmt: skip


@pytest.fixture(scope="module")
def odd(faces: Path, folder: Path) -> Path:
    """The drawn faces with three in `val`: no two processes have as many."""
    root = folder / "faces"
    shutil.copytree(faces, root)
    more = (root / "test_list.txt").read_text().splitlines(keepends=True)[:1]
    with (root / "val_list.txt").open("a") as val:
        val.writelines(more)
    return root


@pytest.fixture(scope="module")
def start(odd: Path, folder: Path) -> Start:
    """A run in two processes of this machine."""

    def start(run_dir: str, *options: object, resume: bool = False) -> "subprocess.Popen[str]":
        fresh = command(odd, run_dir, "--processes", 2, *options)
        again = [*fresh[:4], "--resume", run_dir, *map(str, options)]
        return subprocess.Popen(
            again if resume else fresh, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=ENVIRONMENT, start_new_session=True, preexec_fn=heed_ctrl_c,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def reference(start: Start, folder: Path) -> Path:
    """A run that nobody disturbed."""
    process = start("reference")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert "in 2 processes" in err
    return folder / "reference"


def workers(process: "subprocess.Popen[str]") -> list[int]:
    """The training processes that the launcher started."""
    found = []
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with suppress(OSError):  # it may have ended since
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


BACKBONES = ["resnet18", "mobilenet_v2", "timm:resnet10t", "timm:mobilenetv3_small_050"]


@pytest.fixture(scope="module")
def few_steps(folder: Path) -> dict[int, dict[str, Any]]:
    """What tests/core/training/few_steps.py comes to, by the number of processes: five steps of four photographs."""
    found = {}
    for processes in (1, 2):
        out = folder / f"steps{processes}.pth"
        script = [sys.executable, "-W", "ignore", "-m", "tests.core.training.few_steps", out]
        script += [str(4 // processes), "5", *BACKBONES]
        started = [subprocess.Popen(script, cwd=ROOT, env=ENVIRONMENT | variables) for variables in launched(processes)]
        assert [process.wait(timeout=300) for process in started] == [0] * processes
        found[processes] = torch.load(out)
    return found


def launched(processes: int) -> list[dict[str, str]]:
    """What torchrun, SLURM and Kubernetes tell each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_two_processes_share_out_a_batch_exactly(few_steps: dict[int, dict[str, Any]], backbone: str) -> None:
    """Losses, weights and running statistics after five steps: four photographs at once, or two in each of two.

    Of timm's networks the first has plain norms, the second such with an activation inside.
    """
    one, two = (few_steps[processes][backbone] for processes in (1, 2))
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-5, atol=0)
    assert two["weights"].keys() == one["weights"].keys()
    for name, weights in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weights, rtol=1e-5, atol=1e-9)


def test_two_processes_count_what_one_counts(reference: Path, odd: Path) -> None:
    """Of a set that cannot be halved: the recorded scores are those of one process with the same weights."""
    samples = DatasetFolder(odd).samples("val")
    assert len(samples) == 3
    checkpoint = read_checkpoint(reference / "last.pth")
    parser = load_parser(checkpoint, torch.device("cpu"))
    counts = evaluate(parser, samples, 11, ["eagrnet"])["eagrnet"]
    assert dict(checkpoint.scores) == compute_scores(counts, get_label_set("helen")).flat()
    assert comparable(reference)[-1][1]["val/miou"] == checkpoint.scores["miou"]


def test_a_killed_process_costs_the_steps_since_the_last_checkpoint(
    start: Start, folder: Path, reference: Path
) -> None:
    """First one of the two, which the launcher starts again; then everything, and the run is resumed."""
    run_dir = folder / "killed"
    process = start("killed")
    await_checkpoint(process, run_dir)
    before = workers(process)
    os.kill(before[1], signal.SIGKILL)
    while process.poll() is None and (not (now := workers(process)) or set(now) & set(before)):
        time.sleep(0.05)  # the other one may save once more before it knows
    await_checkpoint(process, run_dir, after=iterations(run_dir))
    os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate()
    (line,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert re.fullmatch(r"warning: .* was lost \(Connection (reset|closed) by peer\); all are started again", line)
    assert "Traceback" not in err
    assert iterations(run_dir) < EPOCHS * ITERATIONS
    process = start("killed", resume=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert_like(run_dir, reference)


def test_a_signal_to_the_launcher_saves_in_all_processes(start: Start, folder: Path, reference: Path) -> None:
    run_dir = folder / "stopped"
    process = start("stopped", "--set", "train.checkpoint_every=0", "--set", "data.workers=1")
    await_checkpoint(process, run_dir)  # the first epoch's end
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (143, ""), err
    assert re.match(rf"stopped by SIGTERM in epoch [2-{EPOCHS}], after ", err.splitlines()[-1]), err
    assert "death signal" not in err  # the launcher's own words
    assert err.splitlines()[-1].endswith("; saved, go on with: faceparse train --resume stopped")
    assert "Traceback" not in err
    assert iterations(run_dir) < EPOCHS * ITERATIONS
    process = start("stopped", resume=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert_like(run_dir, reference)


@pytest.mark.parametrize(("when", "outcome"), [("end", "best.pth is of epoch 1"), ("error", "DatasetError: .*jpg: .*")])
def test_a_signal_that_comes_too_late_leaves_the_outcome_as_it_is(
    tiny: Tiny, own_faces: Path, tmp_path: Path, when: str, outcome: str
) -> None:
    """The launcher waits 30 seconds for processes that do not end, and kills them."""
    settings = tiny(data__root=own_faces, launch__processes=2, launch__max_restarts=0, tracking__enabled=False)
    (tmp_path / "settings.toml").write_text(to_toml(settings))
    script = [sys.executable, "-m", "tests.core.training.stopped_late", tmp_path / "settings.toml", when]
    done = subprocess.run(script, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, timeout=100, check=True)
    found = re.fullmatch(rf"{outcome}\n([0-9.]+) seconds after the signal\n", done.stdout)
    assert found, done.stdout
    assert float(found[1]) < 30


def test_two_processes_go_on_to_a_later_end_and_stop_together(start: Start, folder: Path, reference: Path) -> None:
    """Also where one of the two was killed; patience ends such a run in both at once."""
    run_dir = folder / "longer"
    shutil.copytree(reference, run_dir)
    process = start("longer", "--epochs", 2 * EPOCHS, resume=True)
    await_checkpoint(process, run_dir, after=EPOCHS * ITERATIONS)
    os.kill(workers(process)[1], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert "all are started again" in err
    assert iterations(run_dir) == 2 * EPOCHS * ITERATIONS
    assert [epoch for epoch, _ in comparable(run_dir)] == list(range(1, 2 * EPOCHS + 1))

    process = start("patient", "--epochs", 100, "--set", "train.patience=1")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    (line,) = [line for line in err.splitlines() if line.startswith("stopped after epoch ")]
    epochs = len(comparable(folder / "patient"))
    assert f"stopped after epoch {epochs} of 100: train.patience = 1 evaluations without a better " in line
    best = read_checkpoint(folder / "patient" / "best.pth")
    assert best.epoch == epochs - 1


def test_an_error_in_one_process_is_one_line(start: Start, folder: Path, faces: Path, tmp_path: Path) -> None:
    """A damaged label is met by the process that has it in its part; nobody waits for that one, or starts it again."""
    shutil.copytree(faces, tmp_path / "faces")
    sample = DatasetFolder(tmp_path / "faces").samples("train")[5]
    sample.image.write_bytes(b"no picture")
    process = start("damaged", "--data-dir", tmp_path / "faces")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {sample.image}: ")
    assert [line for line in err.splitlines() if "rror" in line] == err.splitlines()[-1:]
    assert "started again" not in err


def test_a_mistake_is_told_once(start: Start) -> None:
    process = start("nothing", "--data-dir", "nowhere")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: nowhere")


def test_fewer_processes_keep_the_size_of_an_update(start: Start, folder: Path, reference: Path) -> None:
    run_dir = folder / "fewer"
    shutil.copytree(reference, run_dir)
    (run_dir / "train.log").unlink()  # which says that it is finished
    process = start("fewer", "--processes", 1, resume=True)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, (out, err)
    assert "2 batches make an update of 4 photographs" in err
    (run_dir / "train.log").unlink()
    process = start("fewer", "--processes", 3, resume=True)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("error: this run makes an update from 4 photographs, and 3 processes of ")


def test_a_process_that_joins_does_not_wait_for_one_that_hangs(faces: Path, folder: Path) -> None:
    first, second = (
        subprocess.Popen(
            command(faces, "joined", "--set", "launch.timeout=4"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd=folder, env=ENVIRONMENT | variables,
        )
        for variables in launched(2)
    )  # fmt: skip
    try:
        await_checkpoint(first, folder / "joined")
        second.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        out, err = first.communicate(timeout=60)
        assert time.monotonic() - started < 30
        assert (first.returncode, out) == (2, ""), err
        assert err.splitlines()[-1] == "error: another training process was lost (no answer within launch.timeout)"
    finally:
        second.kill()
        second.communicate()


def test_a_rendezvous_that_is_nowhere_is_one_line(faces: Path, tmp_path: Path) -> None:
    train = command(faces, "nowhere", "--nodes", 2, "--rendezvous", "nowhere.invalid:29400")
    done = subprocess.run(
        train, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=120, check=False
    )
    assert done.returncode == 2
    assert re.fullmatch(r"error: launch.rendezvous: no way from here to nowhere.invalid \(.+\)", done.stderr.strip()), (
        done.stderr
    )


def test_workers_end_with_a_launcher_that_is_killed(start: Start, folder: Path) -> None:
    process = start("orphans", "--set", "train.epochs=500")
    await_checkpoint(process, folder / "orphans")
    started = workers(process)
    assert len(started) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while alive := [pid for pid in started if Path(f"/proc/{pid}").exists() and not _is_zombie(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def _is_zombie(pid: int) -> bool:
    """Ended, and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
