import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
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
from faceparse.core.settings import Settings, flatten, load_settings
from faceparse.core.training import run as run_module
from faceparse.core.training.loss import EAGRNetLoss, LossTerms
from faceparse.core.training.observer import Bystander
from faceparse.core.training.run import RunResult, resume, train
from faceparse.core.training.trainer import Trainer
from tests.conftest import TINY, Tiny
from tests.core.training.recorded import (
    RESNET,
    Watcher,
    artifacts,
    assert_same,
    comparable,
    last,
    logged,
    papers_model,
    points,
    recorded,
)
from tests.core.training.scripted import confusion

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


# The best checkpoint


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
