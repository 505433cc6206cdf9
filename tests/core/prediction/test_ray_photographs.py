"""Photographs on a Ray cluster of this machine: its nodes are processes with no core in common."""

import json
import os
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

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import OutputError, ResourceError, SettingsError
from faceparse.core.export.model_bytes import model_bytes
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.parser.trained import Network, TrainedModel
from faceparse.core.prediction import ray_photographs
from faceparse.core.prediction.photograph_states import Saved
from faceparse.core.prediction.prediction import PredictReport, plan_prediction
from faceparse.core.prediction.ray_photographs import RayPool

pytest.importorskip("ray", reason="Ray is not installed")

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


@dataclass(frozen=True)
class Slow:
    """A network that takes its time, and notes which processes on which nodes use it."""

    network: Network
    notes: Path

    @property
    def input_size(self) -> tuple[int, int]:
        return self.network.input_size

    def __call__(self, crops: Tensor) -> Tensor:
        import ray

        (self.notes / f"{ray.get_runtime_context().get_node_id()}-{os.getpid()}").touch()
        time.sleep(0.3)
        return self.network(crops)


@contextmanager
def slow(opened: Callable[[], Any], notes: Path) -> Iterator[Any]:
    """The model with a slow network."""
    with opened() as model:
        parts = {name: getattr(model, name) for name in ("device", "fit", "geometry", "part_classes")}
        yield SimpleNamespace(**parts, network=lambda device, size: Slow(model.network(device, size), notes))


@pytest.fixture
def model(light: Path) -> TrainedModel:
    return load_model_from(light)


@pytest.fixture
def album(faces: Path) -> Path:
    """Seventeen photographs in two folders, one of them broken."""
    for n, path in enumerate(sorted((faces / "images").iterdir())):
        target = Path("album", "trip" if n % 2 else ".", path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    Path("album", "broken.jpg").write_text("no picture")
    return Path("album")


def predict(
    model: TrainedModel, album: Path, out: str, pool: RayPool | None = None, track: Any = None, **options: Any
) -> PredictReport:
    options = {"save": SAVE, "recursive": True, "faces": "none"} | options
    plan = plan_prediction([str(album)], Path(out), label_set=model.label_set, model="light", **options)
    parser = load_parser(model, torch.device("cpu"))
    return plan.run(parser, batch_size=2, pool=pool, **({"track": track} if track else {}))


def tree(folder: str) -> dict[str, bytes]:
    """All outputs."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.parent.name != "ledger")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def pool_of(machines: Machines, model: TrainedModel, **options: Any) -> RayPool:
    return RayPool(machines.address, model_bytes(model).opened, device="cpu", **options)


def test_it_makes_the_files_of_one_process_and_goes_on_across_jobs(
    machines: Machines, model: TrainedModel, album: Path
) -> None:
    boxes = {f"{path}": [[10, 10, 40, 40]] for path in sorted(album.rglob("*.jpg"))[2:]}
    Path("boxes.json").write_text(json.dumps(boxes))
    whole = predict(model, album, "whole", faces="boxes.json")
    assert (whole.photographs, len(whole.broken)) == (14, 3)

    def stop(items: Iterable[Saved], total: int | None, what: str) -> Iterator[Saved]:
        for done, item in enumerate(items):
            if done == 5:
                raise KeyboardInterrupt
            yield item

    pool = pool_of(machines, model)
    with pytest.raises(KeyboardInterrupt):
        predict(model, album, "out", pool, stop, faces="boxes.json")
    report = predict(model, album, "out", pool, faces="boxes.json", resume=True)
    assert report.before + report.broken_before == 5
    assert report.photographs + report.before == 14
    assert report.broken == [line for line in whole.broken if line in report.broken]
    assert tree("out") == tree("whole")
    assert not [path for path in Path("out").iterdir() if path.name.startswith(".")]


def test_a_killed_process_costs_only_its_blocks_and_a_machine_that_joins_is_used(
    machines: Machines, model: TrainedModel, album: Path, tmp_path: Path
) -> None:
    for path in list(album.rglob("image*.jpg")) or list(album.rglob("*.jpg")):
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    predict(model, album, "whole")
    (tmp_path / "notes").mkdir()
    first: list[Path] = []

    def disturb(items: Iterable[Saved], total: int | None, what: str) -> Iterator[Saved]:
        for done, item in enumerate(items):
            if done == 2:
                first.extend((tmp_path / "notes").iterdir())
                os.kill(int(first[0].name.partition("-")[2]), signal.SIGKILL)
                machines.add()
            yield item

    pool = pool_of(machines, model, actors=2)
    report = predict(
        model, album, "out", replace(pool, model=partial(slow, pool.model, tmp_path / "notes")), track=disturb
    )
    assert tree("out") == tree("whole")
    assert report.photographs == 32
    notes = [path.name.partition("-") for path in (tmp_path / "notes").iterdir()]
    assert len(first) == 1
    assert len({node for node, _, _ in notes}) == 2
    assert len({process for _, _, process in notes}) >= 3


def test_what_ends_the_command_in_one_process_ends_it_here(
    machines: Machines, model: TrainedModel, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(machines, model)
    Path("out").mkdir()
    Path("out", "labels").write_text("no folder")
    with pytest.raises(OutputError, match=r"^cannot write out/labels"):
        predict(model, album, "out", pool)
    with monkeypatch.context() as patch:
        patch.setattr(ray_photographs, "__version__", "0.0.9")
        with pytest.raises(ResourceError, match=r": has faceparse .*, and this command is 0\.0\.9; install the same"):
            predict(model, album, "other", pool)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "cwd", lambda: Path("/not/there"))
        with pytest.raises(OutputError, match=r": does not see /not/there as the command does"):
            predict(model, album, "another", pool)
    with monkeypatch.context() as patch:
        patch.setattr("ray.__version__", "2.0.0")
        with pytest.raises(ResourceError, match=r"the cluster has Ray .*, and this command has Ray 2\.0\.0 and"):
            predict(model, album, "none", pool)


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
