"""Photographs on a Ray cluster of this machine: its nodes are processes with no core in common."""

import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from faceparse import __version__
from faceparse.core.errors import ResourceError, SettingsError
from faceparse.core.export.model_bytes import model_bytes
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.parser.trained import Network, TrainedModel
from faceparse.core.prediction.photograph_states import Saved
from faceparse.core.prediction.prediction import PredictReport, plan_prediction
from faceparse.core.prediction.ray_photographs import RayPool, _Batch, _reason, _Site, _told

pytest.importorskip("ray", reason="Ray is not installed")

PORTRAIT = Path(__file__).parents[3] / "docs" / "portraits" / "eileen-collins.jpg"
SAVE = "labels,overlays,alpha,crops,masks,probabilities,instances,json,coco,labelme"


@dataclass
class Machines:
    """A cluster of one node with one core; more can join."""

    address: str
    add: Callable[[], object]


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    import ray
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes do not see the tests
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 200 * 2**20}
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()
        cluster = Cluster(initialize_head=True, head_node_args=node)
        yield Machines(cluster.address, lambda: cluster.add_node(**node))
        cluster.shutdown()


@dataclass
class Patient:
    """A network that notes which processes on which nodes use it, and waits for a second node after six calls."""

    network: Network
    notes: Path
    calls: int = 0

    @property
    def input_size(self) -> tuple[int, int]:
        return self.network.input_size

    def __call__(self, crops: Tensor) -> Tensor:
        import ray

        (self.notes / f"{ray.get_runtime_context().get_node_id()}-{os.getpid()}").touch()
        self.calls += 1
        until = time.monotonic() + 120
        while self.calls > 6 and len(nodes(self.notes)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        return self.network(crops)


def nodes(notes: Path) -> set[str]:
    return {path.name.partition("-")[0] for path in notes.iterdir()}


@contextmanager
def with_network(opened: Callable[[], Any], changed: Callable[[Network], Network]) -> Iterator[Any]:
    """The model with a changed network."""
    with opened() as model:
        parts = {name: getattr(model, name) for name in ("device", "fit", "geometry", "part_classes")}
        yield SimpleNamespace(**parts, network=lambda device, size: changed(model.network(device, size)))


@pytest.fixture
def model(light: Path) -> TrainedModel:
    return load_model_from(light)


@pytest.fixture
def album(faces: Path) -> Path:
    """Thirty-four photographs in two folders, two of them broken."""
    for n, path in enumerate(2 * sorted((faces / "images").iterdir())):
        target = Path("album", "trip" if n % 2 else ".", f"{n}.jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("broken.jpg", "trip/broken.jpg"):
        Path("album", name).write_text("no picture")
    return Path("album")


def predict(
    model: TrainedModel, album: Path, out: str, pool: RayPool | None = None, track: Any = None, **options: Any
) -> PredictReport:
    options = {"save": SAVE, "recursive": True, "faces": "none", **options}
    plan = plan_prediction([str(album)], Path(out), label_set=model.label_set, model="light", **options)
    parser = load_parser(model, torch.device("cpu"))
    known = {"geometry": model.geometry, "part_classes": model.part_classes}
    return plan.run(parser, batch_size=2, pool=pool, **known, **({"track": track} if track else {}))


def tree(folder: str) -> dict[str, bytes]:
    """All outputs."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.parent.name != "ledger")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pool_of(machines: Machines, model: TrainedModel, **options: Any) -> RayPool:
    return RayPool(machines.address, model_bytes(model).opened, device="cpu", **options)


def test_a_lost_process_and_a_machine_that_joins_leave_the_files_of_one_process(
    machines: Machines, model: TrainedModel, album: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The command goes on where one process was stopped. Its only actor is killed, then a second node joins."""
    boxes = {f"{path}": [[10, 10, 40, 40]] for path in sorted(album.rglob("*.jpg"))[2:]}
    Path("boxes.json").write_text(json.dumps(boxes))
    whole = predict(model, album, "whole", faces="boxes.json")
    assert (whole.photographs, len(whole.broken)) == (30, 4)
    with pytest.raises(KeyboardInterrupt):
        predict(model, album, "out", track=partial(disturbed, 4, stop), faces="boxes.json")

    def disturb() -> None:
        (only,) = notes.iterdir()
        os.kill(int(only.name.partition("-")[2]), signal.SIGKILL)
        machines.add()

    notes = tmp_path / "notes"
    notes.mkdir()
    pool = pool_of(machines, model, actors=2)
    pool = replace(pool, model=partial(with_network, pool.model, partial(Patient, notes=notes)))
    report = predict(model, album, "out", pool, partial(disturbed, 2, disturb), faces="boxes.json", resume=True)
    assert report.before + report.broken_before == 4
    assert report.photographs + report.before == 30
    assert report.broken == [line for line in whole.broken if line in report.broken]
    assert tree("out") == tree("whole")
    assert not [path for path in Path("out").iterdir() if path.name.startswith(".")]
    assert len(nodes(notes)) == 2
    assert capfd.readouterr() == ("", "")


def test_a_photograph_that_ends_every_process_is_broken_and_the_others_are_parsed(
    machines: Machines, model: TrainedModel, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceparse.core.prediction.ray_attempts.TOGETHER", 1)
    monkeypatch.setattr("faceparse.core.prediction.ray_attempts.ALONE", 1)
    for path in sorted((album / "trip").iterdir())[:-2]:
        path.unlink()
    predict(model, album, "whole", save="labels,json")
    black = album / "black.png"
    cv2.imwrite(str(black), np.zeros((40, 30, 3), np.uint8))
    pool = pool_of(machines, model, actors=1)
    pool = replace(pool, model=partial(with_network, pool.model, Deadly))
    report = predict(model, album, "out", pool, save="labels,json")
    assert report.photographs == 17
    told = "ended the process that parsed it 1 times; does it take too much memory?"
    assert [line for line in report.broken if "black" in line] == [f"{black}: {told}"]
    labels = {name: data for name, data in tree("whole").items() if name.startswith("labels/")}
    assert {name: data for name, data in tree("out").items() if name.startswith("labels/")} == labels
    assert f"{black},{told}\n" in Path("out/failed.csv").read_text()


def test_an_error_of_another_process_is_shown_in_its_own_words() -> None:
    """Ray puts the traceback before it, and advice behind it."""
    text = """\x1b[36mray::MapWorker(Map(_Actor)).submit()\x1b[39m (pid=11861, ip=192.0.2.2)
  File "/usr/lib/python3.11/concurrent/futures/thread.py", line 58, in run
    result = self.fn(*self.args, **self.kwargs)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
RuntimeError: the true cause
second line

The above exception was the direct cause of the following exception:

\x1b[36mray::MapWorker(Map(_Actor)).submit()\x1b[39m (pid=11861, ip=192.0.2.2)
ray.exceptions.UserCodeException: UDF failed to process a data block.
To change retry attempts, backoff, or which errors are retried, configure `ray.data.DataContext.get_current()`."""
    assert _reason(RuntimeError(text)) == "RuntimeError: the true cause"
    assert _reason(RuntimeError("The worker died.\nMemory was short.")) == "The worker died."
    assert _reason(RuntimeError()) == "RuntimeError"


@dataclass
class Deadly:
    """A network whose process a black photograph ends."""

    network: Network

    @property
    def input_size(self) -> tuple[int, int]:
        return self.network.input_size

    def __call__(self, crops: Tensor) -> Tensor:
        if min(float(crop.float().std()) for crop in crops) < 1e-3:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.network(crops)


def disturbed(after: int, disturb: Callable[[], None], items: Iterable[Saved], *_: object) -> Iterator[Saved]:
    """Pass photographs on, and do something after some of them."""
    for done, item in enumerate(items):
        if done == after:
            disturb()
        yield item


def stop() -> None:
    raise KeyboardInterrupt


def test_parts_have_the_rows_of_one_process(machines: Machines, model: TrainedModel, album: Path) -> None:
    predict(model, album, "whole", save="labels,coco", to="parquet")
    predict(model, album, "out", pool_of(machines, model), save="labels,coco", to="parquet")
    assert rows("out") == rows("whole")
    assert len(rows("out")) == 32


def test_the_model_finds_faces_in_the_cluster_as_in_one_process(machines: Machines, album: Path) -> None:
    shipped = load_model_from()
    shutil.rmtree(album / "trip")
    for path in sorted(album.glob("*.jpg"))[3:]:
        path.unlink()
    shutil.copy(PORTRAIT, album)
    predict(shipped, album, "whole", save="labels,json", faces="auto")
    predict(shipped, album, "out", pool_of(machines, shipped), save="labels,json", faces="auto")
    assert tree("out") == tree("whole")
    assert len(json.loads(tree("out")[f"json/{PORTRAIT.stem}.json"])["faces"]) == 1


def rows(folder: str) -> list[dict[str, Any]]:
    """All rows of the parts in a folder."""
    found = [row for path in Path(folder, "parquet").iterdir() for row in pq.read_table(path).to_pylist()]
    return sorted(found, key=lambda row: str(row["name"]))


def test_a_cluster_with_another_version_of_ray_is_refused(
    machines: Machines, model: TrainedModel, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.__version__", "2.0.0")
    with pytest.raises(ResourceError, match=r"the cluster has Ray .*, and this command has Ray 2\.0\.0 and"):
        predict(model, album, "out", pool_of(machines, model))
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ({"version": "0.0.9"}, r": has faceparse .*, and this command is 0\.0\.9; install the same everywhere$"),
        ({"folder": "/not/there"}, r": does not see /not/there as the command does \(No such file or directory\); "),
        ({"mark": "out/.mark"}, r": does not see out as the command does \(No such file or directory\); with --ray, "),
    ],
    ids=["version", "folder", "output"],
)
def test_a_machine_with_another_version_or_other_folders_is_refused(
    site: dict[str, str], expected: str, album: Path
) -> None:
    """Each task does this before it begins; what it raises ends the command."""
    here = _Site(str(Path.cwd()), str(album), __version__)
    assert _told(here, list, {"item": _Batch([1])}) == {"item": _Batch([1])}
    found = _told(replace(here, **site), list, {"item": _Batch([1])})["item"]
    assert re.search(expected, str(found.error))


def test_videos_and_devices_that_ray_chooses_are_refused(model: TrainedModel, album: Path) -> None:
    (album / "film.mp4").write_text("")
    pool = RayPool("local", model_bytes(model).opened)
    with pytest.raises(SettingsError, match=r"^--ray is for photographs; parse album/film\.mp4 by a command"):
        predict(model, album, "out", pool, save="labels")
    with pytest.raises(SettingsError, match=r"^--device cuda:1: with --ray, Ray gives each actor a GPU of its own"):
        replace(pool, device="cuda:1")
    assert not Path("out").exists()


def test_tasks_need_no_pytorch() -> None:
    """They would take seconds and hundreds of megabytes more, each."""
    import subprocess

    code = "import sys, faceparse.core.prediction.ray_photographs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
