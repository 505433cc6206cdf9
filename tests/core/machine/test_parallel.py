"""One function over many items: same order and results in one process and in several."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.files.reading import read_bytes
from faceparse.core.machine.parallel import default_processes, map_files, map_threads, script_hidden, untracked


def process_of(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(processes: int) -> None:
    items = [7, 3, 9, 1, 12, 0, 5] * 5
    assert list(map_files(math.factorial, items, processes)) == [math.factorial(item) for item in items]


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_no_items_give_no_results(processes: int) -> None:
    assert list(map_files(math.factorial, [], processes)) == []


def test_one_process_is_this_process() -> None:
    assert set(map_files(process_of, [1, 2, 3], 1)) == {os.getpid()}


def test_one_item_starts_no_process() -> None:
    assert list(map_files(process_of, [1], 8)) == [os.getpid()]


def test_several_processes_are_others_than_this() -> None:
    assert os.getpid() not in set(map_files(eval, ["__import__('os').getpid()"] * 4, 2))


def test_ctrl_c_is_left_to_the_parent() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert list(map_files(signal.getsignal, [signal.SIGINT] * 4, 2)) == [signal.SIG_IGN] * 4
    assert signal.getsignal(signal.SIGINT) == before


def test_processes_use_one_thread_each() -> None:
    assert set(map_files(eval, ["__import__('cv2').getNumThreads()"] * 4, 2)) == {1}


LINGER = """
import os, time

def linger(folder):
    (folder / str(os.getpid())).write_text("")
    time.sleep(600)
"""
ORPHANS = """
import sys
from pathlib import Path
from faceparse.core.machine.parallel import map_files
from linger import linger

list(map_files(linger, [Path(sys.argv[1])] * 2, 2))
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script, folder = tmp_path / "orphans.py", tmp_path / "pids"
    script.write_text(ORPHANS)
    (tmp_path / "linger.py").write_text(LINGER)
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, script, folder])
    await_true(lambda: len(list(folder.iterdir())) == 2)
    workers = [int(path.name) for path in folder.iterdir()]
    assert all(map(alive, workers))
    parent.kill()
    parent.wait()
    await_true(lambda: not any(map(alive, workers)))


def test_the_script_is_hidden_only_while_processes_start() -> None:
    """Its other threads, and what is called meanwhile, may pickle what it defines."""
    script = sys.modules["__main__"]
    for _ in map_files(math.factorial, [1, 2, 3, 4], 2):
        assert sys.modules["__main__"] is script
    with script_hidden():
        hidden = sys.modules["__main__"]
        assert not hasattr(hidden, "__file__")
        assert hidden.__spec__ is None
        assert {name: vars(hidden)[name] for name in vars(script) if name not in ("__file__", "__spec__")}
    with pytest.raises(ZeroDivisionError), script_hidden():
        raise ZeroDivisionError
    assert sys.modules["__main__"] is script


def await_true(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_error_arrives_as_it_was_raised(processes: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    paths = [tmp_path / "a", tmp_path / "gone", tmp_path / "a", tmp_path / "gone too"]
    with pytest.raises(DatasetError, match=r"^cannot read .*gone: No such file or directory$"):
        list(map_files(read_bytes, paths, processes))


def test_a_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(ResourceError, match=r"^a worker process was killed; .* --processes, and start"):
        list(map_files(eval, ["__import__('os').kill(__import__('os').getpid(), 9)"] * 4, 2))


def test_few_items_are_under_way_at_a_time() -> None:
    """Else memory would grow with their number."""
    results = map_files(math.factorial, Watched(range(4000)), 2)
    next(results)
    assert len(Watched.taken) < 300
    assert len(list(results)) == 3999


class Watched(Sequence[int]):
    """Numbers that remember how many of them were asked for."""

    taken: ClassVar[set[int]] = set()

    def __init__(self, numbers: range) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, where: Any) -> Any:
        chosen = self.numbers[where]
        Watched.taken.update([chosen] if isinstance(chosen, int) else chosen)
        return [n % 20 for n in chosen] if isinstance(chosen, range) else chosen % 20


def test_results_before_an_error_are_handed_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    results: Iterator[bytes] = map_files(read_bytes, [tmp_path / "a", tmp_path / "gone"], 1)
    assert next(results) == b"a"
    with pytest.raises(DatasetError):
        next(results)


def test_arguments_bound_beforehand_travel_too() -> None:
    assert list(map_files(partial(pow, 2), [1, 2, 3], 2)) == [2, 4, 8]


def test_untracked_hands_everything_on() -> None:
    assert list(untracked(iter([3, 1, 2]), 3, "numbers")) == [3, 1, 2]


def test_default_processes_are_the_cores_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert default_processes() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_processes() == 1


def test_threads_keep_the_order_and_do_not_run_ahead() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            drawn.append(i)
            yield i

    def late(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    taken = []
    for done, square in enumerate(map_threads(late, items(), 3, ahead=5)):
        assert len(drawn) <= done + 5
        taken.append(square)
    assert taken == [i * i for i in range(20)]


def test_the_first_exception_of_a_thread_ends_the_rest() -> None:
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        if i == 4:
            raise DatasetError("four")
        return i

    results = map_threads(work, iter(range(1000)), 2, ahead=6)
    with pytest.raises(DatasetError, match="^four$"):
        list(results)
    assert max(begun) <= 10
