"""A checkpoint over a split: what it takes from where, what it refuses, and what it logs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from faceparse.core.datasets.layout import DatasetFolder, write_label_set
from faceparse.core.errors import CheckpointError, DatasetError, FaceparseError, SettingsError
from faceparse.core.evaluation import score_checkpoint as module
from faceparse.core.evaluation.evaluate import evaluate
from faceparse.core.evaluation.protocols import PROTOCOLS, ProtocolName
from faceparse.core.evaluation.score_checkpoint import Evaluation, log_evaluation, score_checkpoint
from faceparse.core.evaluation.scores import compute_scores
from faceparse.core.inference import load_parser
from faceparse.core.labels import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.model.weights import Checkpoint
from faceparse.core.settings import Settings

CPU = torch.device("cpu")
HELEN = get_label_set("helen")


@pytest.fixture(autouse=True)
def _in_one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two small photographs repay neither a process nor a thread; on a busy machine threads wait for each other."""
    monkeypatch.setattr(module, "default_processes", lambda: 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def checkpoint(tiny: Callable[..., Settings]) -> Checkpoint:
    """An untrained network: its scores are poor, and all the same scores."""
    torch.manual_seed(0)
    settings = tiny()
    return Checkpoint(
        path=Path("best.pth"),
        settings=settings,
        label_set=HELEN,
        weights=build_model(settings.model, len(HELEN)).state_dict(),
    )


def refusal(kind: type[FaceparseError], checkpoint: Checkpoint, **options: object) -> str:
    with pytest.raises(kind) as caught:
        score_checkpoint(checkpoint, device=CPU, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_knows_all_that_is_needed(checkpoint: Checkpoint, faces: Path) -> None:
    result = score_checkpoint(checkpoint, device=CPU)
    confusion = evaluate(load_parser(checkpoint, CPU), DatasetFolder(faces).samples("test"), 11)
    expected = Evaluation(Path("best.pth"), faces, "test", "eagrnet", 2, compute_scores(confusion, HELEN))
    assert result == expected
    assert confusion.sum() == 2 * 72 * 72


def test_what_is_given_is_taken(checkpoint: Checkpoint, own_faces: Path) -> None:
    own = load_parser(checkpoint, CPU, (96, 64))
    assert own.input_size == (96, 64)
    result = score_checkpoint(
        checkpoint, device=CPU, data_dir=own_faces, split="val", protocol="label", input_size=(96, 64), batch_size=1
    )
    confusion = evaluate(own, DatasetFolder(own_faces).samples("val"), 11, protocol="label")
    assert (result.dataset, result.split, result.protocol, result.images) == (own_faces, "val", "label", 2)
    assert result.scores == compute_scores(confusion, HELEN)


def test_merged_scores_are_those_of_the_datasets_own_set(checkpoint: Checkpoint, own_faces: Path) -> None:
    assert set(score_checkpoint(checkpoint, device=CPU).scores.merged_f1) == set(HELEN.merged)
    write_label_set(own_faces, get_label_set("lapa"))  # the same classes, other merged scores
    assert score_checkpoint(checkpoint, device=CPU, data_dir=own_faces).scores.merged_f1 == {}
    named = score_checkpoint(checkpoint, device=CPU, data_dir=own_faces, dataset="helen")
    assert set(named.scores.merged_f1) == set(HELEN.merged)


def test_a_folder_that_does_not_say_its_classes_has_the_checkpoints(checkpoint: Checkpoint, own_faces: Path) -> None:
    for name in ("label_set.toml", "label_names.txt"):
        (own_faces / name).unlink()
    result = score_checkpoint(checkpoint, device=CPU, data_dir=own_faces)
    assert list(result.scores.f1) == list(HELEN.names)


def test_unknown_protocols_and_splits_name_the_known_and_the_nearest(checkpoint: Checkpoint) -> None:
    assert refusal(SettingsError, checkpoint, protocol="egrnet") == (
        "--protocol 'egrnet': not one of eagrnet, label; did you mean 'eagrnet'?"
    )
    assert refusal(SettingsError, checkpoint, split="tset") == (
        "--split 'tset': not one of train, val, test; did you mean 'test'?"
    )


def test_a_missing_dataset_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert "gone: no such dataset folder" in refusal(DatasetError, checkpoint, data_dir=tmp_path / "gone")


def test_a_dataset_with_another_number_of_classes_is_refused(checkpoint: Checkpoint, own_faces: Path) -> None:
    write_label_set(own_faces, get_label_set("fasseg"))
    assert refusal(CheckpointError, checkpoint, data_dir=own_faces) == (
        f"best.pth: has 11 classes (helen), {own_faces} (fasseg) says 6; "
        "take another checkpoint, or another dataset with --data-dir"
    )


def test_another_expected_class_count_is_refused(checkpoint: Checkpoint) -> None:
    assert refusal(CheckpointError, checkpoint, num_classes=19).startswith(
        "best.pth: has 11 classes (helen), --num-classes says 19; "
    )


def test_as_many_classes_of_another_meaning_are_refused(checkpoint: Checkpoint, own_faces: Path) -> None:
    names = [name for name in HELEN.classes if name != "nose"]
    other = HELEN.model_copy(
        update={"name": "other", "classes": dict.fromkeys([*names, "nose"], "#000000"), "mirror": (), "merged": {}}
    )
    write_label_set(own_faces, other)
    assert refusal(CheckpointError, checkpoint, data_dir=own_faces) == (
        f"best.pth: its class 'nose' is 'upper_lip' in {own_faces} (other); "
        "the ids mean other things, prepare the dataset with the checkpoint's label set"
    )


def test_a_released_checkpoint_has_no_names_to_disagree_with(checkpoint: Checkpoint, own_faces: Path) -> None:
    renamed = {f"part_{i}": colour for i, colour in enumerate(HELEN.classes.values())}
    write_label_set(own_faces, HELEN.model_copy(update={"classes": renamed, "mirror": (), "merged": {}}))
    with pytest.raises(CheckpointError, match="is 'part_0' in"):
        score_checkpoint(checkpoint, device=CPU, data_dir=own_faces)
    result = score_checkpoint(replace(checkpoint, origin="released"), device=CPU, data_dir=own_faces)
    assert list(result.scores.f1) == list(renamed)


# Logging.


def evaluation(protocol: ProtocolName) -> Evaluation:
    confusion = np.random.default_rng(len(protocol)).integers(1, 99, (11, 11))
    return Evaluation(Path("best.pth"), Path("data"), "test", protocol, 2, compute_scores(confusion, HELEN))


def test_scores_go_to_the_run_that_made_the_checkpoint(checkpoint: Checkpoint, store: str) -> None:
    client = MlflowClient(store)
    run_id = client.create_run(client.create_experiment("score_checkpoint")).info.run_id
    made = replace(checkpoint, run_id=run_id, tracking_uri=store, epoch=7)
    warnings: list[str] = []
    results = {protocol: evaluation(protocol) for protocol in PROTOCOLS}
    for result in results.values():
        assert log_evaluation(made, result, warn=warnings.append) == run_id
    expected = {f"test/{name}": value for name, value in results["eagrnet"].scores.flat().items()}
    expected |= {f"test.label/{name}": value for name, value in results["label"].scores.flat().items()}
    assert client.get_run(run_id).data.metrics == pytest.approx(expected)
    assert {one.step for one in client.get_metric_history(run_id, "test/f1_mean")} == {7}
    assert warnings == []


def test_a_checkpoint_without_a_run_logs_nothing(checkpoint: Checkpoint) -> None:
    warnings: list[str] = []
    assert log_evaluation(checkpoint, evaluation("label"), warn=warnings.append) is None
    assert warnings == []


def test_a_run_that_is_gone_costs_a_warning_and_not_the_scores(checkpoint: Checkpoint, store: str) -> None:
    gone = replace(checkpoint, run_id="0" * 32, tracking_uri=store)
    warnings: list[str] = []
    assert log_evaluation(gone, evaluation("label"), warn=warnings.append) is None
    assert len(warnings) == 1
