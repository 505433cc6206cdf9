"""One function over many items: same order and results in one process and in several."""

import math
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files import read_bytes
from faceparse.core.parallel import default_processes, map_files, untracked


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
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN
    assert list(map_files(signal.getsignal, [signal.SIGINT] * 4, 2)) == [signal.SIG_IGN] * 4


def test_processes_use_one_thread_each() -> None:
    assert set(map_files(eval, ["__import__('cv2').getNumThreads()"] * 4, 2)) == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_error_arrives_as_it_was_raised(processes: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    paths = [tmp_path / "a", tmp_path / "gone", tmp_path / "a", tmp_path / "gone too"]
    with pytest.raises(DatasetError, match=r"^cannot read .*gone: No such file or directory$"):
        list(map_files(read_bytes, paths, processes))


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
