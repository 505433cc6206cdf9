"""Two machines that train one model, one of which is cut off: two network namespaces joined by a cable."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.core.training.test_interruptions import ENVIRONMENT, assert_like, iterations
from tests.core.training.test_launch import EPOCHS, ITERATIONS, command

ADDRESSES = ("10.77.0.1", "10.77.0.2")
MEETING = f"{ADDRESSES[0]}:29400"
WAITING = f"waiting for 2 machines at {MEETING}"
TIMEOUT = 8
"""`launch.timeout`."""
Start = Callable[..., "subprocess.Popen[str]"]


class Machine:
    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        ip("netns", "add", name)

    def plug_in(self) -> None:
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", self.name)
        for link in ("lo", self.name):
            ip("-n", self.name, "link", "set", link, "up")

    def cable(self, state: str) -> None:
        ip("-n", self.name, "link", "set", self.name, state)

    def remove(self) -> None:
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[Machine, Machine]]:
    """The first is where they meet."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the ip command")
    made: list[Machine] = []
    try:
        for number, address in enumerate(ADDRESSES):
            made.append(Machine(f"fp{os.getpid()}-{number}", address))
        first, second = made
        ends = [argument for machine in made for argument in ("name", machine.name, "netns", machine.name)]
        ip("link", "add", *ends[:4], "type", "veth", "peer", *ends[4:])
        first.plug_in()
        second.plug_in()
    except subprocess.CalledProcessError as error:
        for machine in made:
            machine.remove()
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        yield first, second
    finally:
        for machine in made:
            machine.remove()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def start(faces: Path, folder: Path) -> Start:
    """The same command, on one machine."""

    def start(machine: Machine, run_dir: str) -> "subprocess.Popen[str]":
        train = command(
            faces, run_dir, "--nodes", 2, "--rendezvous", MEETING, "--set", f"launch.timeout={TIMEOUT}"
        )  # fmt: skip
        return subprocess.Popen(
            ["ip", "netns", "exec", machine.name, *train],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=ENVIRONMENT,
        )  # fmt: skip

    return start


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code and both streams."""
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def reference(machines: tuple[Machine, Machine], start: Start, folder: Path) -> Path:
    """A run on both that nobody disturbed."""
    here, there = (start(machine, "reference") for machine in machines)
    (code, out, err), (code_there, out_there, err_there) = ended(here), ended(there)
    assert (code, code_there) == (0, 0), (err, err_there)
    assert out == out_there
    assert err.splitlines()[0] == err_there.strip() == WAITING
    assert "on cpu in 2 processes" in err
    return folder / "reference"


def test_a_machine_that_was_cut_off_comes_back(
    machines: tuple[Machine, Machine], start: Start, folder: Path, reference: Path
) -> None:
    """The one that stays waits, and says so; the one that is cut off ends, and is started again."""
    run_dir = folder / "cut"
    stays, goes = (start(machine, "cut") for machine in machines)
    while stays.poll() is None and not (run_dir / "last.pth").exists():
        time.sleep(0.01)
    machines[1].cable("down")
    started = time.monotonic()
    code, out, err = ended(goes)
    assert (code, out) == (2, ""), err
    assert time.monotonic() - started < 10 * TIMEOUT
    waiting, line = err.splitlines()
    assert waiting == WAITING
    assert line.startswith(f"error: the rendezvous at {MEETING} was lost (")
    assert line.endswith("; go on with: faceparse train --resume cut")
    assert stays.poll() is None
    assert iterations(run_dir) < EPOCHS * ITERATIONS
    machines[1].cable("up")
    back = start(machines[1], "cut")
    (code, _, err), (code_back, _, err_back) = ended(stays), ended(back)
    assert (code, code_back) == (0, 0), (err, err_back)
    lost = "another training process was lost (no answer within launch.timeout)"
    assert [line for line in err.splitlines() if "lost" in line] == [
        f"{lost}; {WAITING}",
        f"warning: {lost}; all are started again",
    ]
    assert err_back.strip() == WAITING
    assert_like(run_dir, reference)


def test_a_signal_to_one_machine_stops_both(
    machines: tuple[Machine, Machine], start: Start, folder: Path, reference: Path
) -> None:
    """The other's launcher does not wait for that one to come back."""
    stays, stopped = (start(machine, "stopped") for machine in machines)
    while stays.poll() is None and not (folder / "stopped" / "last.pth").exists():
        time.sleep(0.01)
    stopped.terminate()
    for code, _, err in (ended(stays), ended(stopped)):
        assert code == 143, err
        assert re.fullmatch(r"stopped by SIGTERM in epoch .*; saved, go on with: .*", err.splitlines()[-1])
    assert iterations(folder / "stopped") < EPOCHS * ITERATIONS
