"""Loading in this process and in others: the same batches, and errors as they were raised."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import DatasetError, FaceparseError, SettingsError
from faceparse.core.images.encoding import encode_png
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.sampling.batch_order import EpochSampler
from faceparse.core.sampling.loader import Loader, _GuardedCollate, _Packed, pins
from faceparse.core.sampling.samples import Batch, TrainingSet, collate
from faceparse.core.settings import DataSettings

CPU = torch.device("cpu")


class Numbers(Dataset[int]):
    """0, 1, 2, ...; some of them fail."""

    def __init__(self, count: int, failing: dict[int, Exception] | None = None) -> None:
        self.count, self.failing = count, failing or {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        if index in self.failing:
            raise self.failing[index]
        return index


class Processes(Dataset[int]):
    """Who loads an item; counts how many were loaded."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.loaded: Synchronized[int] = multiprocessing.get_context("forkserver").Value("i")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        with self.loaded.get_lock():
            self.loaded.value += 1
        return os.getpid()


def training_loader(root: Path, *, workers: int, epoch: int = 0, **options: bool) -> Loader[object, Batch]:
    settings = DataSettings(input_size=(64, 64), random_mirror=True, color_jitter=0.2)
    samples = DatasetFolder(root).samples("train")
    batches = EpochSampler(len(samples), batch_size=5, seed=3)
    batches.epoch = epoch
    dataset = TrainingSet(samples, get_label_set("helen"), settings, seed=3)
    loader: Callable[..., Loader[object, Batch]] = Loader
    return loader(dataset, collate, device=CPU, workers=workers, batches=batches, **options)


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_two_processes_load_the_same_batches_as_this_one(faces: Path) -> None:
    here, there = list(training_loader(faces, workers=0)), list(training_loader(faces, workers=2))
    assert len(here) == len(there) == 2
    assert all(equal(one, other) for one, other in zip(here, there, strict=True))
    assert not equal(here[0], here[1])


def test_processes_that_stay_load_every_epoch_as_it_is(faces: Path) -> None:
    settings = DataSettings(input_size=(64, 64))
    samples = DatasetFolder(faces).samples("train")
    batches = EpochSampler(len(samples), batch_size=6, seed=0)
    dataset = TrainingSet(samples, get_label_set("helen"), settings, seed=0)
    there = Loader(dataset, collate, device=CPU, workers=1, batches=batches, persistent=True)
    here = Loader(dataset, collate, device=CPU, workers=0, batches=batches, persistent=True)
    for batches.epoch in (1, 2):
        assert all(equal(one, other) for one, other in zip(list(here), list(there), strict=True))


@pytest.mark.parametrize("persistent", [True, False])
def test_processes_stay_between_epochs_if_they_are_told_to(persistent: bool) -> None:
    loader = Loader(Processes(2), list, device=CPU, workers=1, persistent=persistent)
    (first,), (second,) = ({pid for batch in loader for pid in batch} for _ in range(2))
    assert first != os.getpid()
    assert (first == second) is persistent


@pytest.mark.parametrize("prefetch", [1, 4])
def test_a_process_works_ahead_as_far_as_it_is_told_to(prefetch: int) -> None:
    dataset = Processes(20)
    batches = iter(Loader(dataset, list, device=CPU, workers=1, batch_size=2, prefetch=prefetch))
    next(batches)
    expected, deadline = 2 * (1 + prefetch), time.monotonic() + 30
    while dataset.loaded.value < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # for what would come too much
    assert dataset.loaded.value == expected
    list(batches)


@pytest.mark.parametrize(
    ("setting", "device", "expected"),
    [
        (None, "cpu", False),
        (False, "cpu", False),
        (None, "cuda", True),
        (None, "mps", False),
        (False, "cuda", False),
        (True, "cuda:1", True),
    ],
)
def test_memory_is_pinned_for_a_gpu(setting: bool | None, device: str, expected: bool) -> None:
    assert pins(setting, torch.device(device)) is expected


def test_pinned_memory_without_a_gpu_is_refused() -> None:
    expected = "data.pin_memory = true is for a GPU, but the device is cpu; use auto, or another device"
    with pytest.raises(SettingsError) as caught:
        Loader(Numbers(4), list, device=CPU, workers=0, pin_memory=True)
    assert str(caught.value) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_as_the_line_it_was_raised_with(own_faces: Path, workers: int) -> None:
    path = DatasetFolder(own_faces).samples("train")[7].label
    path.write_bytes(encode_png(np.full((72, 72), 37, np.uint8)))
    with pytest.raises(DatasetError) as caught:
        for epoch in range(3):  # whoever is left out of one epoch is not left out of three
            list(training_loader(own_faces, workers=workers, epoch=epoch))
    assert type(caught.value) is DatasetError
    assert str(caught.value) == (
        f"{path}: value 37 is not one of the 11 classes (0 to 10, 255 ignored); "
        "fix the label or name its label set with --label-set"
    )


def test_batches_before_an_error_are_handed_over() -> None:
    loader = Loader(Numbers(6, {4: FaceparseError("four")}), list, device=CPU, workers=0, batch_size=2)
    batches = iter(loader)
    assert [next(batches), next(batches)] == [[0, 1], [2, 3]]
    with pytest.raises(FaceparseError, match=r"^four$"):
        next(batches)


def test_of_two_errors_in_a_batch_the_first_is_told() -> None:
    failing = {1: DatasetError("one"), 2: FaceparseError("two")}
    with pytest.raises(DatasetError, match=r"^one$"):
        list(Loader(Numbers(4, dict(failing)), list, device=CPU, workers=0, batch_size=4))


def test_other_exceptions_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Loader(Numbers(4, {1: ZeroDivisionError()}), list, device=CPU, workers=0, batch_size=2))


@pytest.mark.parametrize(("count", "size", "expected"), [(5, 2, [[0, 1], [2, 3], [4]]), (4, 4, [[0, 1, 2, 3]])])
def test_without_a_sampler_every_item_comes_once_in_order(count: int, size: int, expected: list[list[int]]) -> None:
    loader = Loader(Numbers(count), list, device=CPU, workers=0, batch_size=size)
    assert len(loader) == len(expected)
    assert list(loader) == list(loader) == expected


def test_the_length_is_that_of_the_sampler(faces: Path) -> None:
    assert len(training_loader(faces, workers=0)) == 2


def test_a_batch_goes_by_a_pipe_where_shared_memory_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the paper's crop and six loaders in a container's 64 MB."""

    def pictures(items: Sequence[int]) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        return torch.zeros(7, 473, 473, 3, dtype=torch.uint8), {0: torch.zeros(7, 473, 473)}

    guarded = _GuardedCollate(pictures, workers=6)
    monkeypatch.setattr("faceparse.core.sampling.loader.free_shared", lambda: 64e6)
    packed = guarded([1])
    assert isinstance(packed, _Packed)
    assert torch.equal(pickle.loads(packed.content)[0], pictures([1])[0])
    monkeypatch.setattr("faceparse.core.sampling.loader.free_shared", lambda: 1e9)
    assert isinstance(guarded([1]), tuple)


PICTURES = """
import torch

class Pictures(torch.utils.data.Dataset):
    def __len__(self): return 12
    def __getitem__(self, index): return torch.full((2**20,), index, dtype=torch.uint8)

def collate(items): return (torch.stack(items),)
"""
SMALL = """
import torch
from faceparse.core.sampling.loader import Loader
from pictures import Pictures, collate

loader = Loader(Pictures(), collate, device=torch.device("cpu"), workers=2, batch_size=2)
print([int(batch[0].sum() / 2**20) for batch in loader])
"""


def test_loaders_do_with_two_megabytes_of_shared_memory(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "pictures.py").write_text(PICTURES)
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=2m tmpfs /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    done = subprocess.run([*mount, sys.executable, "small.py"], capture_output=True, text=True, timeout=45)
    assert (done.stdout, done.returncode) == ("[1, 5, 9, 13, 17, 21]\n", 0), done.stderr


SERVER = """
from faceparse.core.machine.parallel import map_files
from faceparse.core.sampling.loader import start_loader_server

start_loader_server({workers})
print(*map_files(eval, ["'torch' in __import__('sys').modules"] * 2, 2))
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX systems have such a server")
@pytest.mark.parametrize(("workers", "imported"), [(2, "True True"), (0, "False False")])
def test_the_server_of_loader_processes_has_imported_what_they_need(workers: int, imported: str) -> None:
    """Also where other work in processes comes first; without loader processes, that work does not wait for it."""
    script = [sys.executable, "-c", SERVER.format(workers=workers)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == imported


SIGNALLED = """
import os, signal, threading, torch
from faceparse.core.sampling.loader import Loader

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: None)
sent, over = 0, threading.Event()

def send():
    global sent
    while not over.wait(0.0005):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.killpg(0, number)
            sent += 1

sender = threading.Thread(target=send)
sender.start()
for _ in range(3):
    assert list(Loader(range(8), list, device=torch.device("cpu"), workers=2)) == [[n] for n in range(8)]
over.set()
sender.join()
print(sent)
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX systems have process groups")
def test_a_signal_to_the_whole_group_reaches_no_loader_process() -> None:
    """At any time from its first moment on: the batches under way are still wanted."""
    script = [sys.executable, "-c", SIGNALLED]
    done = subprocess.run(script, capture_output=True, text=True, timeout=100, check=False, start_new_session=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100
