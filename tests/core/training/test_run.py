import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from torch import Tensor

import faceparse
from faceparse.core.datasets.layout import fingerprint
from faceparse.core.errors import (
    CheckpointError,
    DatasetError,
    FaceparseError,
    OutputError,
    SettingsError,
)
from faceparse.core.images.encoding import encode_png
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.abn import inplace_abn_problem
from faceparse.core.model.build import build_model
from faceparse.core.model.parsing import Output
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.released_names import released_state
from faceparse.core.sampling import cache as cache_module
from faceparse.core.sampling.samples import Batch
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.settings import ModelSettings, Settings, flatten, load_settings
from faceparse.core.training import run as run_module
from faceparse.core.training.loss import EAGRNetLoss, LossTerms
from faceparse.core.training.observer import Bystander
from faceparse.core.training.recorder import Recorder
from faceparse.core.training.run import RunResult, adopt_start, resume, train
from faceparse.core.training.trainer import Trainer
from tests.conftest import PAPER, TINY, Server, Silent

Tiny = Callable[..., Settings]

RESNET = {key.replace(".", "__"): value for key, value in PAPER.items()}


class Watcher(Silent):
    """Presses Ctrl-C after an epoch, if it is told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.stop_after = stop_after

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        assert iterations == 3

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        super().epoch_finished(epoch, metrics, best, metric)
        if epoch == self.stop_after:
            raise KeyboardInterrupt


def recorded(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def logged(store: str, run_id: str | None) -> Run:
    assert run_id is not None
    return MlflowClient(store).get_run(run_id)


def points(store: str, run_id: str | None, name: str) -> list[tuple[int, float]]:
    """(step, value) of everything that was ever logged under that name."""
    assert run_id is not None
    return sorted((metric.step, metric.value) for metric in MlflowClient(store).get_metric_history(run_id, name))


def artifacts(store: str, run_id: str | None, folder: str | None = None) -> set[str]:
    assert run_id is not None
    return {file.path for file in MlflowClient(store).list_artifacts(run_id, folder)}


def assert_same(found: object, expected: object, where: str = "") -> None:
    """Equal bit for bit, through all containers."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where  # type: ignore[arg-type]
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected), where  # type: ignore[call-overload]
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")  # type: ignore[index]
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where  # type: ignore[arg-type]
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):  # type: ignore[call-overload]
            assert_same(a, b, f"{where}.{i}")
    else:
        assert found == expected, where


def last(run_dir: Path) -> dict[str, Any]:
    """All of last.pth that does not depend on where and when the run took place."""
    content = torch.load(run_dir / "last.pth", weights_only=True)
    return {key: content[key] for key in ("model", "epoch", "scores", "training", "label_set")}


def comparable(run_dir: Path) -> list[tuple[int, dict[str, float]]]:
    """metrics.jsonl without the clock and the machine."""
    others = ("train/images_per_second", "system/")
    return [
        (line["epoch"], {key: value for key, value in line["metrics"].items() if not key.startswith(others)})
        for line in recorded(run_dir)
    ]


@pytest.fixture(scope="module")
def make(faces: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings like those of `tiny`, for runs that several tests look at."""

    def make(**changes: object) -> Settings:
        options = {key.replace("__", "."): value for key, value in changes.items()}
        place = {"data.root": faces, "tracking.uri": store, "train.run_dir": tmp_path_factory.mktemp("runs") / "run"}
        return load_settings(options={**TINY, **place, **options})

    return make


@pytest.fixture(scope="module")
def reference(make: Callable[..., Settings]) -> RunResult:
    """Three epochs without interruption. Not to be written to."""
    return train(make(train__epochs=3), Watcher())


# What a run leaves behind


def test_a_run_directory_holds_the_whole_run(trained: RunResult) -> None:
    found = {path.name for path in trained.run_dir.iterdir()} - {".lock"}
    assert found == {"settings.toml", "best.pth", "last.pth", "metrics.jsonl", "train.log", "overlays", "tracking.json"}
    best, newest = read_checkpoint(trained.best), read_checkpoint(trained.run_dir / "last.pth")
    for checkpoint in (best, newest):
        assert checkpoint.settings == load_settings(trained.run_dir / "settings.toml")
        assert (checkpoint.epoch, checkpoint.run_id) == (1, trained.run_id)
        assert checkpoint.tracking_uri == trained.tracking_uri
        assert checkpoint.label_set == get_label_set("helen")
    assert trained.best.stat().st_size < 0.6 * (trained.run_dir / "last.pth").stat().st_size  # no optimizer in it


def test_metrics_have_their_documented_names(trained: RunResult, faces: Path) -> None:
    (line,) = recorded(trained.run_dir)
    listed = [text.split()[1] for text in (faces / "val_list.txt").read_text().splitlines()]
    present = set(np.concatenate([cv2.imread(str(faces / name), cv2.IMREAD_UNCHANGED) for name in listed]).flat)
    classes = [name for i, name in enumerate(get_label_set("helen").names) if i in present]
    names = {"train/loss", "train/loss_parsing", "train/loss_edge", "train/loss_boundary_attention"}
    names |= {"train/lr", "train/images_per_second", "val/f1_mean", "val/miou", "val/pixel_accuracy"}
    names |= {f"val/f1_merged/{name}" for name in ("eyes", "brows", "mouth", "overall")}
    names |= {f"val/{kind}/{name}" for kind in ("f1", "iou") for name in classes}  # absent ones have no score
    machine = {name for name in line["metrics"] if name.startswith("system/")}
    assert set(line["metrics"]) - machine == names
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= machine
    terms = [line["metrics"][f"train/loss_{name}"] for name in ("parsing", "edge", "boundary_attention")]
    assert line["metrics"]["train/loss"] == pytest.approx(2 * (terms[0] + terms[1] + 4 * terms[2]), rel=1e-4)


def test_mlflow_has_every_metric_at_the_step_of_its_epoch(reference: RunResult, store: str) -> None:
    lines = recorded(reference.run_dir)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for name in ("train/loss", "train/lr", "train/images_per_second", "val/f1/left_eye", "val/f1_mean", "val/miou"):
        expected = [(line["epoch"], pytest.approx(line["metrics"][name])) for line in lines]
        assert points(store, reference.run_id, name) == expected
    assert set(logged(store, reference.run_id).data.metrics) == set(lines[0]["metrics"])


def test_mlflow_has_params_tags_and_artifacts(trained: RunResult, faces: Path, store: str) -> None:
    run = logged(store, trained.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == trained.run_dir.name
    settings = load_settings(trained.run_dir / "settings.toml")
    assert run.data.params == {key: str(value) for key, value in flatten(settings).items()}
    expected = {
        "dataset": "faces",
        "label_set": "helen",
        "protocol": "eagrnet",
        "best_metric": "val/f1_merged/overall",
        "run_dir": str(trained.run_dir),
        "faceparse": faceparse.__version__,
        "torch": torch.__version__,
        "best_epoch": "1",
        "best_score": f"{trained.best_score:.6f}",
        **{f"fingerprint.{split}": fingerprint(faces)[split] for split in ("train", "val")},
    }
    assert expected.items() <= run.data.tags.items()
    assert len({value for key, value in expected.items() if key.startswith("fingerprint.")}) == 2
    inputs = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert [inputs[role].digest for role in ("train", "val")] == [fingerprint(faces)[role] for role in ("train", "val")]
    assert json.loads(inputs["train"].profile) == {"images": 12, "label_set": "helen"}
    assert json.loads(inputs["train"].source) == {"uri": str(faces)}
    assert artifacts(store, trained.run_id, "checkpoints") == {"checkpoints/best.pth", "checkpoints/last.pth"}
    assert artifacts(store, trained.run_id, "overlays") == {"overlays/epoch_0001.png"}
    files = {"settings.toml", "metrics.jsonl", "train.log"}
    assert artifacts(store, trained.run_id) - {"eval"} == files | {"checkpoints", "overlays"}  # others may score it


def test_the_best_checkpoints_scores_are_those_of_its_logged_model(reference: RunResult, store: str) -> None:
    run = logged(store, reference.run_id)
    (model,) = MlflowClient(store).search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{reference.run_id}'"
    )
    line = recorded(reference.run_dir)[reference.best_epoch - 1]
    expected = {name: value for name, value in line["metrics"].items() if name.startswith("val/")}
    assert {metric.key: metric.value for metric in model.metrics} == pytest.approx(expected)
    assert {metric.step for metric in model.metrics} == {reference.best_epoch}
    assert {metric.dataset_digest for metric in model.metrics} == {run.data.tags["fingerprint.val"]}
    assert model.params == run.data.params


def test_system_metrics_can_be_switched_off(tiny: Tiny) -> None:
    result = train(tiny(tracking__system_metrics=False), Watcher())
    assert not [name for name in recorded(result.run_dir)[0]["metrics"] if name.startswith("system/")]


def test_overlays_show_photograph_truth_and_prediction(trained: RunResult, faces: Path) -> None:
    sheet = cv2.imread(str(trained.run_dir / "overlays" / "epoch_0001.png"), cv2.IMREAD_COLOR_RGB)
    assert sheet is not None
    assert sheet.shape == (256, 4 * 256 + 3 * 4, 3)  # one face (tracking.overlays = 1), square
    name = (faces / "val_list.txt").read_text().split()[0]
    photograph = cv2.imread(str(faces / name), cv2.IMREAD_COLOR_RGB)
    assert photograph is not None
    difference = np.abs(cv2.resize(photograph, (256, 256)).astype(int) - sheet[:, :256])
    assert difference.mean() < 2


def test_the_log_tells_what_was_trained_on_what(trained: RunResult) -> None:
    log = (trained.run_dir / "train.log").read_text()
    count = sum(parameter.numel() for parameter in build_model(papers_model(), 11).parameters())
    norm = "ActivatedBatchNorm"
    assert f"resnet18 (torchvision stem, {norm}), {count / 1e6:.1f} M parameters, 11 classes of helen, on cpu" in log
    assert "12 training and 2 val photographs, 3 iterations an epoch" in log
    assert "epoch 1: train/loss " in log


def test_photographs_that_fill_no_batch_are_told(tiny: Tiny, trained: RunResult) -> None:
    settings = tiny(train__batch_size=5, train__epochs=1, tracking__enabled=False, tracking__overlays=0)
    log = (train(settings, Bystander()).run_dir / "train.log").read_text()
    assert "each epoch leaves out 2 of the 12 training photographs, at random: they fill no batch of 5; a" in log
    assert "leaves out" not in (trained.run_dir / "train.log").read_text()


@pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
def test_the_in_place_norm_too_is_told(tiny: Tiny) -> None:
    watcher = Watcher()
    train(tiny(model__norm="inplace_abn", tracking__enabled=False, tracking__overlays=0), watcher)
    assert any("mobilenet_v2 (light heads, InPlaceABNSync), " in message for message in watcher.messages)


def papers_model() -> ModelSettings:
    return ModelSettings(backbone="resnet18", stem="torchvision")


@pytest.fixture
def paper(tiny: Tiny) -> Tiny:
    """As `tiny`, of the paper's network."""

    def make(**changes: object) -> Settings:
        return tiny(**RESNET, **changes)

    return make


def test_the_observer_hears_what_is_recorded(tiny: Tiny) -> None:
    watcher = Watcher()
    result = train(tiny(tracking__enabled=False), watcher)
    ((epoch, metrics, best),) = watcher.epochs
    assert (epoch, best) == (1, True)
    assert recorded(result.run_dir)[0]["metrics"] == metrics
    assert watcher.reports[-1].iteration == 3
    assert watcher.reports[-1].losses["loss"] == metrics["train/loss"]
    assert f"run directory {result.run_dir}" in watcher.messages


# Equal runs


def test_equal_runs_are_equal_bit_for_bit_whoever_loads_the_data(
    reference: RunResult, make: Callable[..., Settings]
) -> None:
    other = train(make(train__epochs=3, data__workers=2, tracking__enabled=False), Watcher())
    assert_same(last(other.run_dir), last(reference.run_dir))
    assert comparable(other.run_dir) == comparable(reference.run_dir)
    assert (other.best_epoch, other.best_score) == (reference.best_epoch, reference.best_score)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_number_depends_on_the_cache(reference: RunResult, make: Callable[..., Settings], workers: int) -> None:
    kept = "decoded samples stay in memory, 0.00029 GiB"
    assert kept in (reference.run_dir / "train.log").read_text()
    watcher = Watcher()
    options = {"data__cache": "off", "data__workers": workers, "data__persistent_workers": False}
    other = train(make(train__epochs=3, tracking__enabled=False, **options), watcher)
    assert kept not in watcher.messages
    assert_same(last(other.run_dir), last(reference.run_dir))
    assert comparable(other.run_dir) == comparable(reference.run_dir)


def test_a_cache_without_room_is_a_line_or_a_refusal(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cache_module, "free_memory", lambda: 2**18)
    lack = "needs 0.00029 GiB, but 0.000244 GiB is free, of which it may take"
    with pytest.raises(SettingsError, match=rf"^data\.cache = 'on': the cache {lack} 90%; use auto or off$"):
        train(tiny(data__cache="on", tracking__enabled=False), Watcher())
    assert list(tmp_path.iterdir()) == []
    watcher = Watcher()
    train(tiny(tracking__enabled=False), watcher)
    assert f"files are decoded anew each epoch: a cache {lack} 50%" in watcher.messages


def test_every_epoch_has_an_order_and_crops_of_its_own(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Batch] = []

    def look(self: Trainer, batches: Sequence[Batch]) -> Tensor:
        seen.extend(batches)
        return torch.zeros(len(LossTerms._fields))

    monkeypatch.setattr(Trainer, "step", look)
    monkeypatch.setattr(run_module, "evaluate", lambda *_, **__: confusion(1, 0))
    train(tiny(train__epochs=2, train__seed=5, tracking__enabled=False, tracking__overlays=0), Watcher())
    epochs = [torch.cat([batch.indices for batch in seen[start : start + 3]]).tolist() for start in (0, 3)]
    assert epochs == [np.random.default_rng([5, epoch]).permutation(12).tolist() for epoch in (1, 2)]
    first, second = (
        torch.cat([batch.image for batch in seen[start : start + 3]])[order.index(7)]
        for start, order in zip((0, 3), epochs, strict=True)
    )
    assert not torch.equal(first, second)  # the same face, cut out otherwise


def test_another_seed_is_another_run(reference: RunResult, make: Callable[..., Settings]) -> None:
    other = train(make(train__seed=1, tracking__enabled=False), Watcher())
    assert comparable(other.run_dir)[0] != comparable(reference.run_dir)[0]


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    reference: RunResult, make: Callable[..., Settings], store: str
) -> None:
    settings = make(train__epochs=3)
    run_dir = settings.train.run_dir
    assert run_dir is not None
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=1))
    run_id = read_checkpoint(run_dir / "last.pth").run_id
    assert logged(store, run_id).info.status == "KILLED"
    watcher = Watcher()
    result = resume(run_dir, watcher)
    assert [epoch for epoch, *_ in watcher.epochs] == [2, 3]

    assert_same(last(run_dir), last(reference.run_dir))
    assert comparable(run_dir) == comparable(reference.run_dir)
    assert (result.best_epoch, result.best_score) == (reference.best_epoch, reference.best_score)
    assert_same(dict(read_checkpoint(result.best).weights), dict(read_checkpoint(reference.best).weights))

    assert result.run_id == run_id != reference.run_id
    assert logged(store, run_id).info.status == "FINISHED"
    for name in ("train/loss", "train/lr", "val/f1_mean", "val/iou/nose"):
        assert points(store, run_id, name) == points(store, reference.run_id, name)


def test_a_killed_process_can_be_resumed(reference: RunResult, make: Callable[..., Settings]) -> None:
    settings = make(train__epochs=3, tracking__enabled=False)
    run_dir = settings.train.run_dir
    assert run_dir is not None
    options = [part for key, value in flatten(settings).items() for part in ("--set", f"{key}={_typed(value)}")]
    process = subprocess.Popen([sys.executable, "-m", "faceparse.cli", "train", *options], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (run_dir / "last.pth").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert (run_dir / "last.pth").exists(), errors.decode()
    resume(run_dir, Watcher())
    assert_same(last(run_dir)["training"]["best"], last(reference.run_dir)["training"]["best"])
    assert [epoch for epoch, _ in comparable(run_dir)] == [1, 2, 3]
    # The process may have computed with another number of threads: equal but for rounding.
    found, expected = comparable(run_dir)[-1][1], comparable(reference.run_dir)[-1][1]
    assert found["train/lr"] == expected["train/lr"]
    assert found["train/loss"] == pytest.approx(expected["train/loss"], rel=0.02)


def _typed(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_epochs_that_were_not_kept_are_recorded_once(tiny: Tiny) -> None:
    settings = tiny(train__epochs=4, train__evaluate_every=2, tracking__enabled=False)
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=3))
    assert settings.train.run_dir is not None
    assert [epoch for epoch, _ in comparable(settings.train.run_dir)] == [1, 2, 3]
    watcher = Watcher()
    resume(settings.train.run_dir, watcher)
    assert [epoch for epoch, *_ in watcher.epochs] == [3, 4]
    lines = comparable(settings.train.run_dir)
    assert [epoch for epoch, _ in lines] == [1, 2, 3, 4]
    assert ["val/f1_mean" in metrics for _, metrics in lines] == [False, True, False, True]


def test_resuming_a_finished_run_changes_nothing(trained: RunResult, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(trained.run_dir, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    watcher = Watcher()
    result = resume(copied, watcher)
    assert watcher.messages == [
        f"{copied} is finished, all 1 epochs; nothing is left to train. To train on to epoch N, where the learning "
        f"rate then ends: --resume {copied} --epochs N. Or a new run starts from its weights: --restore-from "
        f"{copied / 'last.pth'} --epochs N"
    ]
    assert dataclasses.replace(result, run_dir=trained.run_dir, best=trained.best) == trained
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def stopped(settings: Settings) -> Path:
    """A run that was stopped after its first epoch, on a dataset of its own that may be changed."""
    assert settings.train.run_dir is not None
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=1))
    return settings.train.run_dir


def test_a_dataset_that_has_changed_is_told_on_resume(tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    run_dir = stopped(tiny(data__root=data, train__epochs=2, tracking__enabled=False))
    lines = (data / "val_list.txt").read_text().splitlines(keepends=True)
    (data / "val_list.txt").write_text("".join(lines[1:]))
    watcher = Watcher()
    resume(run_dir, watcher)
    (warning,) = watcher.warnings
    assert warning.startswith(f"{data}: photographs of val have changed since the run began; it goes on with what is")


def test_label_sets_in_another_order_are_refused_on_resume(tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    run_dir = stopped(tiny(data__root=data, train__epochs=2, tracking__enabled=False))
    text = (data / "label_set.toml").read_text()
    (skin,) = re.findall(r"^skin = .*\n", text, re.MULTILINE)
    (data / "label_set.toml").write_text(re.sub(r"(?m)^(hair = .*\n)", r"\1" + skin, text.replace(skin, "", 1)))
    with pytest.raises(CheckpointError, match="its label set is no longer that of"):
        resume(run_dir, Watcher())


def test_a_best_checkpoint_of_another_run_is_replaced(tiny: Tiny, trained: RunResult) -> None:
    run_dir = stopped(tiny(train__epochs=2, tracking__enabled=False))
    shutil.copyfile(trained.best, run_dir / "best.pth")
    watcher = Watcher()
    result = resume(run_dir, watcher)
    (warning,) = watcher.warnings
    assert warning.startswith(f"{run_dir / 'best.pth'}: is not the best of this run, which is of epoch 1; the next")
    assert result.best_epoch == 2
    assert read_checkpoint(run_dir / "best.pth").epoch == 2


def test_photographs_of_val_that_are_trained_on_are_told(tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    shutil.copyfile(data / "train_list.txt", data / "val_list.txt")
    watcher = Watcher()
    run_dir = tiny(data__root=data, train__epochs=1, tracking__enabled=False).train.run_dir
    train(tiny(data__root=data, train__epochs=1, tracking__enabled=False), watcher)
    assert run_dir is not None
    assert any(
        "photographs are trained on, too: scores on them say nothing of new" in line for line in watcher.messages
    )


def test_an_edited_settings_file_is_refused_on_resume(trained: RunResult, tmp_path: Path) -> None:
    """But for where the run runs, which is the file's to say."""
    copied = Path(shutil.copytree(trained.run_dir, tmp_path / "copied"))
    file = copied / "settings.toml"
    content = file.read_text()
    file.write_text(content.replace("processes = 1", "processes = 2"))
    assert resume(copied, Watcher()).best_epoch == trained.best_epoch
    edited = content.replace("epochs = 1\n", "epochs = 5\n").replace("[speed]", "[speed]\ncompile = true")
    file.write_text(edited.replace("compile = false\n", ""))
    with pytest.raises(SettingsError) as caught:
        resume(copied, Watcher())
    keys = "train.epochs = 5 (was 1), speed.compile = True (was False)"
    assert str(caught.value) == (
        f"{file}: was edited, and a run goes on with the settings that it began with: {keys}; put these back, or begin "
        f"another run: faceparse train {file} --snapshot-dir NEW_FOLDER"
    )
    file.write_text(content)
    resume(copied, Watcher())


def test_what_cannot_be_resumed_says_so(trained: RunResult, tmp_path: Path) -> None:
    copied = shutil.copytree(trained.run_dir, tmp_path / "copy")
    shutil.copy(copied / "best.pth", copied / "last.pth")
    with pytest.raises(CheckpointError, match=r"last\.pth: holds no training state, .*; put previous\.pth in"):
        resume(copied, Watcher())
    (copied / "last.pth").unlink()
    with pytest.raises(CheckpointError, match=r"last\.pth: no such checkpoint; the run was stopped before its first"):
        resume(copied, Watcher())


# The best checkpoint


def confusion(right: int, wrong: int) -> dict[str, np.ndarray]:
    """All nose; `wrong` pixels of it taken for skin; as `evaluate` answers."""
    matrix = np.zeros((11, 11), np.int64)
    matrix[6, 6], matrix[6, 1] = right, wrong
    return {DEFAULT: matrix}


def test_the_best_epoch_is_the_first_with_the_highest_score(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = iter([confusion(5, 5), confusion(9, 1), confusion(7, 3), confusion(9, 1)])
    monkeypatch.setattr(run_module, "evaluate", lambda *_, **__: next(scripted))
    watcher = Watcher()
    result = train(tiny(train__epochs=4, train__best_metric="pixel_accuracy", tracking__enabled=False), watcher)
    assert (result.best_epoch, result.best_score) == (2, 0.9)
    assert [best for _, _, best in watcher.epochs] == [True, True, False, False]
    best = read_checkpoint(result.best)
    assert best.epoch == 2
    assert best.scores["pixel_accuracy"] == 0.9
    assert best.scores["f1/nose"] == pytest.approx(2 * 9 / (10 + 9))
    assert read_checkpoint(result.run_dir / "last.pth").epoch == 4
    overlays = sorted(path.name for path in (result.run_dir / "overlays").iterdir())
    assert overlays == ["epoch_0001.png", "epoch_0002.png"]


@pytest.mark.parametrize(
    ("metric", "expected"), [("auto", 18 / 19), ("f1/nose", 18 / 19), ("iou/nose", 0.9), ("f1/hair", 0.0)]
)
def test_any_score_can_choose_the_best(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, metric: str, expected: float
) -> None:
    monkeypatch.setattr(run_module, "evaluate", lambda *_, **__: confusion(9, 1))
    options = {"tracking__enabled": False, "tracking__overlays": 0}
    result = train(tiny(train__best_metric=metric, **options), Watcher())
    assert result.best_score == pytest.approx(expected)
    assert not (result.run_dir / "overlays").exists()


def test_val_is_what_the_best_epoch_is_chosen_on(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, faces: Path) -> None:
    seen: list[list[str]] = []

    def remember(parser: object, samples: Any, *_: object, **__: object) -> dict[str, np.ndarray]:
        seen.append([sample.id for sample in samples])
        return confusion(1, 0)

    monkeypatch.setattr(run_module, "evaluate", remember)
    for split in ("val", "test"):
        options = {"tracking__enabled": False, "tracking__overlays": 0, "data__val_split": split}
        train(tiny(train__run_dir=Path(split), **options), Watcher())
    expected = [
        [Path(line.split()[1]).stem for line in (faces / f"{split}_list.txt").read_text().splitlines()]
        for split in ("val", "test")
    ]
    assert seen == expected


# Training that stops by itself


def script(monkeypatch: pytest.MonkeyPatch, *right: int) -> None:
    """Evaluations that find this many of ten pixels, one after the other."""
    scores = iter(right)

    def answer(*_: object, **__: object) -> dict[str, np.ndarray]:
        found = next(scores)
        return confusion(found, 10 - found)

    monkeypatch.setattr(run_module, "evaluate", answer)


PATIENT = {"train__best_metric": "pixel_accuracy", "tracking__enabled": False, "tracking__overlays": 0}
ENDED = "train.patience = 2 evaluations without a better val/pixel_accuracy; the learning rate is "


def test_training_stops_after_so_many_evaluations_without_a_better_score(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, 5, 7, 6, 8, 8, 7)
    watcher = Watcher()
    result = train(tiny(train__epochs=30, train__patience=2, **PATIENT), watcher)
    assert (result.best_epoch, result.best_score) == (4, 0.8)
    assert [best for *_, best in watcher.epochs] == [True, True, False, True, False, False]
    assert watcher.messages[-1] == (
        f"stopped after epoch 6 of 30: {ENDED}{1e-3 * (1 - 6 / 30) ** 0.9:.3g}, and its fall to 0 in 24 more epochs is "
        "cut off"
    )
    log = (result.run_dir / "train.log").read_text()
    assert log.endswith(" finished\n")
    assert (
        "train.patience = 2: training stops after 2 epochs without a better val/pixel_accuracy, and then lacks the end "
        "of the schedule, which is epoch 30"
    ) in log
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1, 2, 3, 4, 5, 6]
    watcher = Watcher()
    assert resume(result.run_dir, watcher).best_epoch == 4
    assert watcher.messages[0].startswith(f"{result.run_dir} is finished, 6 of 30 epochs; nothing is left to train.")


def test_patience_counts_evaluations_not_epochs(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 4)
    settings = tiny(train__epochs=9, train__evaluate_every=2, train__patience=1, optim__power=0, **PATIENT)
    watcher = Watcher()
    result = train(settings, watcher)
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1, 2, 3, 4]
    assert watcher.messages[-1] == (  # at a constant rate, no fall is cut off
        "stopped after epoch 4 of 9: train.patience = 1 evaluations without a better val/pixel_accuracy"
    )


def test_without_patience_all_epochs_are_trained(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 4, 3)
    watcher = Watcher()
    train(tiny(train__epochs=3, **PATIENT), watcher)
    assert len(watcher.epochs) == 3
    assert not any("train.patience" in message for message in watcher.messages)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_patience_counts_on_in_a_resumed_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, stop_after: int) -> None:
    options = {"train__epochs": 9, "train__patience": 2, **PATIENT}
    script(monkeypatch, 5, 4, 3)
    whole = train(tiny(train__run_dir=Path("whole"), **options), Watcher())
    script(monkeypatch, 5, 4, 3)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(train__run_dir=Path("part"), **options), Watcher(stop_after=stop_after))
    watcher = Watcher()
    resume(Path("part"), watcher)
    assert len(watcher.epochs) == 3 - stop_after  # none where only the word `finished` was missing
    assert ENDED in watcher.messages[-1]
    assert_same(last(Path("part")), last(whole.run_dir))
    assert comparable(Path("part")) == comparable(whole.run_dir)
    assert last(whole.run_dir)["training"]["best"] == {"score": 0.5, "epoch": 1, "since": 2}


def test_a_better_score_that_could_not_be_written_is_not_waiting(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, the run does not stop for lack of better scores."""
    script(monkeypatch, 5, 6, 7, 8)

    def fail(*_: object) -> None:
        raise OutputError("cannot write best.pth: no space left")

    monkeypatch.setattr(Recorder, "save_best", fail)
    watcher = Watcher()
    train(tiny(train__epochs=4, train__patience=1, **PATIENT), watcher)
    assert len(watcher.epochs) == 4


# Training that goes on to a later end


@pytest.fixture(scope="module")
def short(make: Callable[..., Settings]) -> Path:
    """A finished run of two epochs. Not to be written to."""
    return train(make(train__epochs=2, tracking__enabled=False), Watcher()).run_dir


def rates(run_dir: Path) -> list[float]:
    """Learning rate of each epoch's last iteration."""
    return [metrics["train/lr"] for _, metrics in comparable(run_dir)]


def test_a_finished_run_goes_on_to_a_later_end(short: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(short, tmp_path / "run"))
    watcher = Watcher()
    result = resume(run_dir, watcher, epochs=4)
    assert [epoch for epoch, *_ in watcher.epochs] == [3, 4]
    base = load_settings(run_dir / "settings.toml").optim.lr
    now, before = base * (1 - 6 / 12) ** 0.9, 0.0
    assert (
        f"trains to epoch 4 instead of 2: the learning rate is {now:.3g} (it was {before:.3g}) and falls to 0 there"
    ) in watcher.messages
    assert watcher.warnings == []
    # Iteration 3 of 6 was the first epoch's last but one; from the third epoch on they are counted out of 12.
    old = [base * (1 - i / 6) ** 0.9 for i in (2, 5)]
    assert rates(run_dir) == pytest.approx([*old, *(base * (1 - i / 12) ** 0.9 for i in (8, 11))])
    assert comparable(run_dir)[:2] == comparable(short)
    checkpoint = read_checkpoint(run_dir / "last.pth")
    assert (checkpoint.epoch, checkpoint.settings.train.epochs) == (4, 4)
    assert load_settings(run_dir / "settings.toml") == checkpoint.settings
    scores = [line["metrics"]["val/f1_merged/overall"] for line in recorded(run_dir)]
    assert (result.best_epoch, result.best_score) == (scores.index(max(scores)) + 1, max(scores))
    watcher = Watcher()
    assert resume(run_dir, watcher, epochs=4) == result  # a job that is started again does not train again
    assert watcher.messages[0].startswith(f"{run_dir} is finished, all 4 epochs; nothing is left to train.")


def test_an_extended_run_that_is_interrupted_ends_as_one_that_is_not(short: Path, tmp_path: Path) -> None:
    whole, part = (Path(shutil.copytree(short, tmp_path / name)) for name in ("whole", "part"))
    resume(whole, Watcher(), epochs=5)
    with pytest.raises(KeyboardInterrupt):
        resume(part, Watcher(stop_after=3), epochs=5)
    with pytest.raises(KeyboardInterrupt):
        resume(part, Watcher(stop_after=4))
    watcher = Watcher()
    resume(part, watcher, epochs=5)
    assert [epoch for epoch, *_ in watcher.epochs] == [5]
    assert not any("instead of" in message for message in watcher.messages)  # it has this end already
    assert_same(last(part), last(whole))
    assert comparable(part) == comparable(whole)


def test_a_run_that_goes_on_to_its_own_end_is_as_if_it_had_not_stopped(
    reference: RunResult, make: Callable[..., Settings]
) -> None:
    """A stopped run, with its number of epochs named: nothing is extended."""
    settings = make(train__epochs=3, tracking__enabled=False)
    run_dir = stopped(settings)
    resume(run_dir, Watcher(), epochs=3)
    assert_same(last(run_dir), last(reference.run_dir))


def test_a_run_gets_an_earlier_end_to_let_its_learning_rate_fall_sooner(make: Callable[..., Settings]) -> None:
    run_dir = stopped(make(train__epochs=30, tracking__enabled=False))
    resume(run_dir, Watcher(), epochs=2)
    base = load_settings(run_dir / "settings.toml").optim.lr
    assert rates(run_dir) == pytest.approx([base * (1 - 2 / 90) ** 0.9, base * (1 - 5 / 6) ** 0.9])


def test_a_kill_between_settings_and_checkpoint_leaves_a_line_that_says_how_to_go_on(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same line answers who edits the number of epochs in settings.toml."""
    run_dir = Path(shutil.copytree(short, tmp_path / "run"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "save_last", killed)
        with pytest.raises(KeyboardInterrupt):
            resume(run_dir, Watcher(), epochs=4)
    with pytest.raises(SettingsError) as caught:
        resume(run_dir, Watcher())
    assert str(caught.value) == (
        f"{run_dir / 'settings.toml'}: has train.epochs = 4, and the checkpoint 2; say how long to train: faceparse "
        f"train --resume {run_dir} --epochs 4"
    )
    resume(run_dir, Watcher(), epochs=4)
    assert [epoch for epoch, _ in comparable(run_dir)] == [1, 2, 3, 4]
    assert read_checkpoint(run_dir / "last.pth").settings.train.epochs == 4


def test_a_run_that_patience_ended_goes_on_and_counts_anew(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 4, 3)
    settings = tiny(train__epochs=9, train__patience=2, **PATIENT)
    run_dir = train(settings, Watcher()).run_dir
    script(monkeypatch, 3, 2, 1)
    watcher = Watcher()
    resume(run_dir, watcher, epochs=9)
    assert "trains on to epoch 9; train.patience counts anew" in watcher.messages
    assert [epoch for epoch, *_ in watcher.epochs] == [4, 5]
    assert rates(run_dir) == pytest.approx([1e-3 * (1 - (3 * epoch - 1) / 27) ** 0.9 for epoch in range(1, 6)])
    script(monkeypatch, 7, 6, 6)
    assert resume(run_dir, Watcher(), epochs=20).best_epoch == 6
    assert [epoch for epoch, _ in comparable(run_dir)] == list(range(1, 9))


def test_an_end_that_is_past_is_refused(short: Path, tmp_path: Path, make: Callable[..., Settings]) -> None:
    run_dir = Path(shutil.copytree(short, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match=r"^train\.epochs = 1: .*run has trained 2 already; name a later end$"):
        resume(run_dir, Watcher(), epochs=1)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    unfinished = stopped(make(train__epochs=3, tracking__enabled=False))
    with pytest.raises(SettingsError, match=r"^train\.epochs = 1: .* has trained 1 already; name a later end$"):
        resume(unfinished, Watcher(), epochs=1)


def test_mlflow_has_the_new_number_of_epochs_and_each_epoch_once(make: Callable[..., Settings], store: str) -> None:
    first = train(make(train__epochs=1), Watcher())
    result = resume(first.run_dir, Watcher(), epochs=2)
    assert result.run_id == first.run_id
    run = logged(store, result.run_id)
    assert (run.info.status, run.data.params["train.epochs"], run.data.tags["epochs"]) == ("FINISHED", "1", "2")
    assert [step for step, _ in points(store, result.run_id, "train/loss")] == [1, 2]


def test_a_run_that_moved_knows_its_best_checkpoint(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it runs is in each checkpoint's settings, and the best one may be older than the move."""
    script(monkeypatch, 9, 5, 5)
    settings = tiny(train__epochs=3, **PATIENT)
    run_dir = stopped(settings)
    elsewhere = settings.model_copy(update={"launch": settings.launch.model_copy(update={"timeout": 30.0})})
    with pytest.raises(KeyboardInterrupt):
        resume(run_dir, Watcher(stop_after=2), where=elsewhere)
    watcher = Watcher()
    assert resume(run_dir, watcher).best_epoch == 1
    assert watcher.warnings == []


# Further terms of the loss


def test_further_terms_are_reported_by_name_and_computed_in_float32(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    types: set[torch.dtype] = set()
    plain = EAGRNetLoss.forward

    def look(self: EAGRNetLoss, output: Output, *rest: Any) -> LossTerms:
        types.update(logits.dtype for logits in output if logits is not None)
        terms = plain(self, output, *rest)
        types.update(term.dtype for term in terms)
        return terms

    monkeypatch.setattr(EAGRNetLoss, "forward", look)
    options = {"loss__dice": 0.5, "loss__lovasz": 0.25, "speed__precision": "bf16", "tracking__enabled": False}
    metrics = recorded(train(tiny(**options), Watcher()).run_dir)[0]["metrics"]
    weights = {"parsing": 1, "edge": 1, "boundary_attention": 4, "dice": 0.5, "lovasz": 0.25}
    total = 2 * sum(weight * metrics[f"train/loss_{name}"] for name, weight in weights.items())
    assert metrics["train/loss"] == pytest.approx(total, rel=1e-4)
    assert 0 < metrics["train/loss_lovasz"] < 1
    assert types == {torch.float32}


# MLflow away


def test_tracking_can_be_switched_off(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    result = train(tiny(tracking__enabled=False), Watcher())
    assert (result.run_id, result.tracking_uri) == (None, None)
    assert read_checkpoint(result.best).run_id is None
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_server_that_is_away_costs_two_warnings_and_nothing_else(
    tiny: Tiny, server: Server, reference: RunResult
) -> None:
    server.stop()
    watcher = Watcher()
    result = train(tiny(tracking__uri=server.uri, train__epochs=1), watcher)
    lost, left = watcher.warnings
    assert lost.startswith(f"MLflow at {server.uri} failed, the run goes on and tries again: ")
    points = len(recorded(result.run_dir)[0]["metrics"])
    assert left.startswith(f"MLflow at {server.uri}: not delivered: {points} points, ")
    assert left.endswith(f"; later: faceparse sync {result.run_dir}")
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1]
    assert set(recorded(result.run_dir)[0]["metrics"]) == set(recorded(reference.run_dir)[0]["metrics"])
    assert result.run_id is None
    assert read_checkpoint(result.best).epoch == 1


def test_user_and_password_of_a_server_are_in_no_file_and_no_message(
    tiny: Tiny, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    server.stop()
    watcher = Watcher()
    secret = server.uri.replace("://", "://me:s3cr3t@")
    result = train(tiny(tracking__uri=secret, train__epochs=1), watcher)
    assert result.tracking_uri == server.uri
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cr3t" in contents(path)] == []
    said = "\n".join(watcher.warnings)
    assert "s3cr3t" not in said
    assert said.endswith("(user and password are kept nowhere: set MLFLOW_TRACKING_URI to the whole address)")


def contents(path: Path) -> bytes:
    """All bytes of a file; of an archive its members', which may be compressed."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("uri", ["sqlite:////proc/no/mlflow.db", "nonsense://x"])
def test_a_store_that_can_never_work_is_refused_before_anything_is_written(
    tiny: Tiny, uri: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=f"MLflow store {uri} cannot be opened: "):
        train(tiny(tracking__uri=uri), Watcher())
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_refused_before_anything_is_written(tiny: Tiny, store: str, tmp_path: Path) -> None:
    client = MlflowClient(store)
    client.delete_experiment(client.create_experiment("thrown-away"))
    with pytest.raises(SettingsError, match=r"tracking\.experiment = 'thrown-away': deleted in MLflow"):
        train(tiny(tracking__experiment="thrown-away"), Watcher())
    assert list(tmp_path.iterdir()) == []


PLAN = """
from faceparse.core.machine.distributed import ALONE
from faceparse.core.machine.parallel import map_files, untracked
from faceparse.core.settings import load_settings
from faceparse.core.training.plan import plan_training

plan_training(load_settings(options={options!r}), untracked, ALONE)
print(*map_files(eval, ["'torch' in __import__('sys').modules"] * 2, 2))
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX systems have such a server")
def test_loader_processes_are_forked_with_all_imports_done(faces: Path) -> None:
    """The plan measures faces in processes, too: before that, it starts the server that loaders need."""
    options = {**TINY, "data.root": str(faces), "data.workers": 2, "tracking.enabled": False}
    script = [sys.executable, "-c", PLAN.format(options=options)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "True True"


# Starting weights


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """As the released code writes a checkpoint, but of the paper's network."""
    torch.save(released_state(build_model(papers_model(), 11)), tmp_path / "released.pth")
    return tmp_path / "released.pth"


def test_training_goes_on_in_the_channel_order_of_a_released_checkpoint(paper: Tiny, released: Path) -> None:
    watcher = Watcher()
    settings = paper(model__pretrained=str(released), tracking__enabled=False, optim__lr=1e-12)
    result = train(settings, watcher)
    assert f"{released} was trained with data.channel_order = bgr: training goes on so" in watcher.messages
    count = len(torch.load(released, weights_only=True))
    assert f"{released}: released EAGRNet: {count} tensors loaded" in watcher.messages
    checkpoint = read_checkpoint(result.best)
    assert checkpoint.settings.data.channel_order == "bgr"
    assert load_settings(result.run_dir / "settings.toml").data.channel_order == "bgr"
    # At a rate of nearly 0 the weights stay those of the file.
    expected = torch.load(released, weights_only=True)["layer6.conv4.weight"]
    torch.testing.assert_close(checkpoint.weights["decoder.classify.weight"], expected)


def test_a_channel_order_that_the_user_names_stands(paper: Tiny, released: Path) -> None:
    watcher = Watcher()
    settings = paper(model__pretrained=str(released), data__channel_order="rgb")
    assert adopt_start(settings, watcher) == settings
    assert watcher.messages == []


def test_mean_and_std_are_those_of_our_checkpoint(tiny: Tiny) -> None:
    first = train(tiny(data__mean="0.5,0.5,0.5", data__std="0.2,0.2,0.2", tracking__enabled=False), Watcher())
    settings = tiny(model__pretrained=str(first.best), data__std="0.3,0.3,0.3")
    adopted = adopt_start(settings, Watcher()).data
    assert (adopted.mean, adopted.std, adopted.channel_order) == ((0.5,) * 3, (0.3,) * 3, "rgb")
    assert adopted.root == settings.data.root


REPORT = "imagenet: ResNet backbone with a 7x7 stem: 120 tensors loaded, 2 of the file not used (fc.weight, fc.bias)"


def test_what_imagenets_weights_gave_is_said_at_the_start(paper: Tiny, imagenet: Path, store: str) -> None:
    watcher = Watcher()
    result = train(paper(model__pretrained="imagenet", optim__lr=1e-12), watcher)
    assert watcher.messages[0] == REPORT
    assert REPORT in (result.run_dir / "train.log").read_text().splitlines()[0]
    assert logged(store, result.run_id).data.tags["pretrained"] == REPORT.removeprefix("imagenet: ")
    assert logged(store, result.run_id).data.params["model.pretrained"] == "imagenet"
    weights = read_checkpoint(result.best).weights
    torch.testing.assert_close(
        weights["backbone.stem.0.conv.weight"], torch.load(imagenet, weights_only=True)["conv1.weight"]
    )


def test_going_on_needs_neither_the_file_nor_the_network(paper: Tiny, imagenet: Path) -> None:
    settings = paper(model__pretrained="imagenet", train__epochs=2, tracking__enabled=False)
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=1))
    imagenet.unlink()
    assert settings.train.run_dir is not None
    result = resume(settings.train.run_dir, Watcher())
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1, 2]
    assert read_checkpoint(result.run_dir / "last.pth").settings.model.pretrained == "imagenet"


# What stands in the way


def spoil_settings(root: Path) -> dict[str, object]:
    return {"train__best_metric": "f1/noze"}


def spoil_batch_size(root: Path) -> dict[str, object]:
    return {"train__batch_size": 13}


def spoil_pinning(root: Path) -> dict[str, object]:
    return {"data__pin_memory": True}


def spoil_list(root: Path) -> dict[str, object]:
    (root / "val_list.txt").write_text("")
    return {}


def spoil_weights(root: Path) -> dict[str, object]:
    (root / "weights.pth").write_text("<html>")
    return {"model__pretrained": str(root / "weights.pth")}


def spoil_classes(root: Path) -> dict[str, object]:
    torch.save(released_state(build_model(papers_model(), 5)), root / "five.pth")
    return {**RESNET, "model__pretrained": str(root / "five.pth")}


def spoil_size(root: Path) -> dict[str, object]:
    return {"model__backbone": "timm:hiera_tiny_224", "data__input_size": (96, 160)}


def spoil_metric(root: Path) -> dict[str, object]:
    """The network may see a mouth all the same: its F1 is then 0, not absent."""
    mouth = [get_label_set("helen").names.index(name) for name in ("inner_mouth", "upper_lip", "lower_lip")]
    for line in (root / "val_list.txt").read_text().splitlines():
        path = root / line.split()[1]
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[np.isin(label, mouth)] = 1
        path.write_bytes(encode_png(label))
    return {"train__best_metric": "f1/mouth"}


def spoil_border(root: Path) -> dict[str, object]:
    return {"model__backbone": "timm:inception_v3", "data__input_size": (96, 96)}


def spoil_windows(root: Path) -> dict[str, object]:
    return {"model__backbone": "timm:maxvit_rmlp_pico_rw_256", "data__input_size": (96, 160)}


@pytest.mark.parametrize(
    ("spoil", "kind", "expected"),
    [
        (spoil_settings, SettingsError, "train.best_metric = 'f1/noze': not a score of helen; did you mean 'f1/nose'?"),
        (
            spoil_metric,
            SettingsError,
            "train.best_metric = 'f1/mouth': no label of split 'val' has it; choose another score, such as mean_f1",
        ),
        (spoil_batch_size, SettingsError, "train.batch_size = 13, but there are 12 training samples; lower it"),
        (spoil_pinning, SettingsError, "data.pin_memory = true is for a GPU, but the device is cpu; use auto"),
        (spoil_list, DatasetError, "val_list.txt: the list is empty"),
        (spoil_weights, CheckpointError, "weights.pth: a web page, not a model; download the file itself"),
        (
            spoil_classes,
            CheckpointError,
            "five.pth: has 5 classes and does not name them, the dataset 11; say which become which with --mapping",
        ),
        (spoil_size, SettingsError, "data.input_size = 96,160: timm:hiera_tiny_224 does not take it (The size of"),
        (
            spoil_windows,
            SettingsError,
            "data.input_size = 96,160: timm:maxvit_rmlp_pico_rw_256 does not take it (height (12) must be divisible "
            "by window (8)); try 224,224 or 256,256",
        ),
        (
            spoil_border,
            SettingsError,
            "model.backbone = 'timm:inception_v3': its map at 1/4 of 96 x 96 is 20 x 20, so it does not cover the "
            "picture; take one such as timm:",
        ),
    ],
)
def test_what_stands_in_the_way_is_said_before_anything_is_written(
    tiny: Tiny,
    own_faces: Path,
    spoil: Callable[[Path], dict[str, object]],
    kind: type[FaceparseError],
    expected: str,
    tmp_path: Path,
) -> None:
    settings = tiny(data__root=own_faces, **spoil(own_faces))
    with pytest.raises(kind) as caught:
        train(settings, Watcher())
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"own_faces"}


def test_edge_maps_that_are_missing_are_made_and_no_others(tiny: Tiny, own_faces: Path) -> None:
    listed = [Path(line.split()[1]).name for line in (own_faces / "train_list.txt").read_text().splitlines()]
    maps = {name: (own_faces / "edges" / name).read_bytes() for name in listed}
    (own_faces / "edges" / listed[0]).unlink()
    (own_faces / "edges" / listed[1]).write_bytes(encode_png(np.zeros((72, 72), np.uint8)))  # somebody's own
    train(tiny(data__root=own_faces, tracking__enabled=False, tracking__overlays=0), Watcher())
    assert (own_faces / "edges" / listed[0]).read_bytes() == maps[listed[0]]
    assert (own_faces / "edges" / listed[1]).read_bytes() != maps[listed[1]]


def test_a_run_that_fails_is_logged_as_failed_and_lets_go_of_its_directory(
    tiny: Tiny, own_faces: Path, store: str, tmp_path: Path
) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init"], ["commit", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    name = (own_faces / "train_list.txt").read_text().split()[1]
    cv2.imwrite(str(own_faces / name), np.full((72, 72), 37, np.uint8))
    with pytest.raises(DatasetError, match=rf"{name}: value 37 is not one of the 11 classes"):
        train(tiny(data__root=own_faces, tracking__experiment="failing-run"), Watcher())
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("failing-run")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["mlflow.source.git.commit"] == commit
    with pytest.raises(CheckpointError, match="no such checkpoint"):  # and not: another process is writing
        resume(tmp_path / "run", Watcher())


def test_a_run_directory_in_use_is_refused(trained: RunResult, tiny: Tiny) -> None:
    with pytest.raises(OutputError, match="already holds a run; go on with it by --resume"):
        train(tiny(train__run_dir=trained.run_dir), Watcher())
