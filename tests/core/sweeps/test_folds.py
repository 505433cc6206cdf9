"""Folds of the smallest runs: the out-of-fold score, the ensemble, and what MLflow holds of them."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.datasets.parts import divide
from faceparse.core.errors import (
    DatasetError,
    ExportError,
    InterruptedRunError,
    OutputError,
    SettingsError,
    TrainingError,
)
from faceparse.core.export.export import Exporter, beside_model, read_exportable
from faceparse.core.export.onnx import run_onnx
from faceparse.core.export.read import load_file
from faceparse.core.images.read_photograph import read_image
from faceparse.core.load import load_model_from
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.inference import load_parser
from faceparse.core.scoring.counting import evaluate
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import compute_scores
from faceparse.core.scoring.split import find_split, seen_in_training
from faceparse.core.settings import load_settings
from faceparse.core.sweeps.curve import resume_curve
from faceparse.core.sweeps.folds import FoldsResult, resume_folds, train_folds
from faceparse.core.sweeps.sweep import resume, sweep
from faceparse.core.sweeps.sweep_file import read_record
from faceparse.core.training import launch
from tests.conftest import Silent, shown_to
from tests.core.sweeps.conftest import Make, assert_points_once, logged
from tests.core.sweeps.killing import kill_in_second_trial

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reference(make: Make, tmp_path_factory: pytest.TempPathFactory) -> FoldsResult:
    """Two folds without interruption. Not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "folds"
    settings = make(tracking__experiment="folds", data__folds=2, train__run_dir=folder)
    return train_folds(settings, shown_to(Silent()))


def held_out(result: FoldsResult, fold: int) -> set[str]:
    settings = read_checkpoint(result.path / f"trial-00{fold}/best.pth").settings
    return {sample.id for sample in divide(settings.data, settings.train.seed).val}


# Folds that nothing stops


def test_each_fold_is_a_run_that_holds_out_its_own_photographs(reference: FoldsResult, faces: Path) -> None:
    assert [trial.state for trial in reference.trials] == ["finished"] * 2
    for fold in (1, 2):
        settings = load_settings(reference.path / f"trial-00{fold}/settings.toml")
        assert (settings.data.folds, settings.data.fold) == (2, fold)
        log = (reference.path / f"trial-00{fold}/train.log").read_text()
        assert f"fold {fold} of 2, held out of train and val: its photographs choose best.pth" in log
        assert "7 training and 7 val photographs" in log
    labelled = {sample.id for split in ("train", "val") for sample in DatasetFolder(faces).samples(split)}
    assert held_out(reference, 1) | held_out(reference, 2) == labelled
    assert not held_out(reference, 1) & held_out(reference, 2)


def test_each_photograph_is_scored_by_the_network_that_did_not_see_it(reference: FoldsResult) -> None:
    """Against another computation of the same: the sum of two confusion matrices."""
    total = np.zeros((11, 11), np.int64)
    for fold in (1, 2):
        model = read_checkpoint(reference.path / f"trial-00{fold}/best.pth")
        samples = divide(model.settings.data, model.settings.train.seed).val
        total += evaluate(load_parser(model, CPU), samples, 11, [DEFAULT])[DEFAULT]
    found = reference.evaluation.summaries[DEFAULT]
    assert np.array_equal(found.counts.sum().confusion, total)
    assert found.scores.mean_f1 == compute_scores(total, found.label_set).mean_f1
    assert found.intervals["mean_f1"].low <= found.scores.mean_f1 <= found.intervals["mean_f1"].high
    assert len(set(reference.evaluation.ids)) == 14


def test_the_scores_are_on_disk_fold_by_fold(reference: FoldsResult) -> None:
    said = json.loads((reference.path / "out-of-fold/scores.json").read_text())
    assert (said["split"], said["images"]) == ("out-of-fold", 14)
    assert [group["name"] for group in said["groups"]["fold"]["groups"]] == ["fold 1", "fold 2"]
    rows = (reference.path / "out-of-fold/images.csv").read_text().splitlines()
    assert len(rows) == 15
    assert rows[0].startswith("protocol,id,group/fold,")
    assert {row.split(",")[1] for row in rows[1:] if row.split(",")[2] == "fold 2"} == held_out(reference, 2)
    assert "out-of-fold" in reference.report.read_text()


def test_mlflow_nests_the_folds_and_has_their_score(reference: FoldsResult, store: str) -> None:
    parent, children = logged(store, "folds")
    assert (parent.info.status, len(children)) == ("FINISHED", 2)
    assert parent.data.params == {"data.fold": "1,2"}
    assert "best_trial" not in parent.data.tags
    score = reference.evaluation.scores[DEFAULT].mean_f1
    assert parent.data.metrics["out-of-fold/f1_mean"] == pytest.approx(score)
    files = {file.path for file in MlflowClient(store).list_artifacts(parent.info.run_id)}
    assert {"sweep.json", "eval"} <= files
    for run, trial in zip(children, reference.trials, strict=True):
        assert run.data.params["data.fold"] == str(trial.params["data.fold"])
        assert_points_once(store, run, {1})


def test_finished_folds_are_only_scored_again(reference: FoldsResult) -> None:
    before = {path: path.read_bytes() for path in reference.path.rglob("*.pth")}
    observer = Silent()
    again = resume_folds(reference.path, shown_to(observer))
    assert again.trials == reference.trials
    assert again.evaluation.scores == reference.evaluation.scores
    assert {path: path.read_bytes() for path in reference.path.rglob("*.pth")} == before
    assert [message for message in observer.messages if message.startswith("trial-")] == []


# The ensemble


def test_the_folder_is_a_model_of_the_mean(reference: FoldsResult, faces: Path) -> None:
    sample = DatasetFolder(faces).samples("test")[0]
    crop = torch.from_numpy(read_image(sample.image)[None, :64, :64].copy())
    ensemble = load_parser(load_model_from(reference.path), CPU).logits(crop).softmax(dim=1)
    each = [
        load_parser(read_checkpoint(reference.path / f"trial-00{n}/best.pth"), CPU).logits(crop).softmax(dim=1)
        for n in (1, 2)
    ]
    assert torch.allclose(ensemble, (each[0] + each[1]) / 2, atol=1e-6)


def test_one_graph_is_exported_and_verified(reference: FoldsResult, tmp_path: Path) -> None:
    model = read_exportable(reference.path)
    assert beside_model(model, ".onnx") == reference.path / "ensemble.onnx"
    exporter = Exporter(model, fixed_size=True)  # to trace any size takes longer
    report = exporter.export("onnx", tmp_path / "ensemble.onnx")
    assert min(check.agreement for check in report.checks) > 0.999
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = exporter.network.logits(image)
    assert torch.allclose(run_onnx(report.path, CPU)(image), expected, atol=1e-3)
    assert torch.allclose(expected.exp().sum(dim=1), torch.ones(2, 64, 64), atol=1e-4)  # logarithms of probabilities
    exported = load_file(report.path)
    assert (exported.settings.data.folds, exported.settings.data.fold) == (2, None)


def test_the_weights_of_several_networks_do_not_fit_into_one_file(reference: FoldsResult, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        Exporter(read_exportable(reference.path)).export("safetensors", tmp_path / "e.safetensors")
    expected = "safetensors: holds the weights of one network, not of an ensemble; take onnx"
    assert str(caught.value) == expected
    assert not list(tmp_path.glob("*.safetensors"))


def test_scores_on_photographs_of_its_folds_are_warned_of(reference: FoldsResult) -> None:
    ensemble = load_file(reference.path)
    first = load_file(reference.path / "trial-001/best.pth")
    val, test = (find_split(ensemble, split=split) for split in ("val", "test"))
    assert (seen_in_training(val, ensemble), seen_in_training(test, ensemble)) == (2, 0)
    kept = [sample for sample in val.samples if sample.id not in held_out(reference, 1)]
    assert seen_in_training(val, first) == len(kept)


# Folds that are stopped


def test_folds_that_were_killed_go_on_as_if_they_had_not_been(
    reference: FoldsResult, make: Make, store: str, tmp_path: Path
) -> None:
    settings = make(tracking__experiment="killed-folds", data__folds=2, train__checkpoint_every=1)
    kill_in_second_trial(["train", "--snapshot-dir", "killed"], settings, Path("killed"))
    assert not Path("killed/ensemble.json").exists()
    assert [trial.state for trial in read_record(Path("killed")).trials] == ["finished", "begun"]
    observer = Silent()
    result = resume_folds(Path("killed"), shown_to(observer))
    assert len([message for message in observer.messages if message.startswith("resumed after ")]) == 1
    assert result.evaluation.scores == reference.evaluation.scores
    ours, theirs = (result.evaluation.summaries[DEFAULT], reference.evaluation.summaries[DEFAULT])
    assert np.array_equal(ours.counts.confusion, theirs.counts.confusion)
    parent, children = logged(store, "killed-folds")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3


def test_folds_that_are_told_to_stop_say_how_to_go_on(make: Make) -> None:
    class Stopping(Silent):
        def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
            signal.raise_signal(signal.SIGTERM)

    settings = make(tracking__enabled=False, data__folds=2, train__run_dir="folds")
    with pytest.raises(InterruptedRunError, match=r"; all folds: faceparse train --resume folds$") as caught:
        train_folds(settings, shown_to(Stopping()))
    assert caught.value.exit_code == 143


def test_a_fold_that_fails_is_tried_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: launch.Job) -> None:
        raise TrainingError("the loss is not finite")

    settings = make(tracking__enabled=False, data__folds=2, train__run_dir="folds")
    with monkeypatch.context() as patch:
        patch.setattr(launch, "start", fail)
        with pytest.raises(TrainingError):
            train_folds(settings, shown_to(Silent()))
    assert [trial.state for trial in read_record(Path("folds")).trials] == ["begun"]
    assert not Path("folds/ensemble.json").exists()
    result = resume_folds(Path("folds"), shown_to(Silent()))
    assert [trial.state for trial in result.trials] == ["finished"] * 2


def test_folds_of_changed_people_are_not_scored(reference: FoldsResult, own_faces: Path, make: Make) -> None:
    """Another groups.csv would hold out photographs that the network was trained on."""
    settings = make(tracking__enabled=False, data__folds=2, train__run_dir="folds", data__root=own_faces)
    result = train_folds(settings, shown_to(Silent()))
    one, other = (min(result.evaluation.ids[start : start + 7]) for start in (0, 7))
    (own_faces / "groups.csv").write_text(f"photograph,group\n{one},a\n{other},a\n")
    with pytest.raises(DatasetError, match=r"have changed since folds/trial-001 was trained; put them back, or begin"):
        resume_folds(Path("folds"), shown_to(Silent()))


# What stands in the way


def test_a_sweep_does_not_vary_the_photographs(make: Make) -> None:
    options = {"trials": None, "sampler": "grid", "seed": 0, "sweep_dir": Path("s"), "display": shown_to(Silent())}
    for key in ("data.fold=1,2", "data.folds=2,3", "data.share=0.5,1"):
        with pytest.raises(SettingsError, match=r"all trials share it, or their scores could not be compared"):
            sweep(make(), [key], **options)  # type: ignore[arg-type]


def test_too_many_folds_are_refused_before_anything_is_written(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^data.folds = 15: train and val of .* have 14 photographs; lower it$"):
        train_folds(make(data__folds=15, train__run_dir=tmp_path / "folds"), shown_to(Silent()))
    assert list(tmp_path.iterdir()) == []


def test_another_folder_of_trials_is_not_gone_on_with(reference: FoldsResult, make: Make) -> None:
    place = re.escape(str(reference.path))
    with pytest.raises(SettingsError, match=rf"^{place}: holds folds; go on by: faceparse train --resume {place}$"):
        resume(reference.path, shown_to(Silent()))
    with pytest.raises(SettingsError, match=r"holds folds; go on by: faceparse train --resume"):
        resume_curve(reference.path, shown_to(Silent()))
    with pytest.raises(OutputError, match=r"already holds folds; go on with it by --resume "):
        train_folds(make(data__folds=2, train__run_dir=reference.path), shown_to(Silent()))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"data.folds": 1}, "data.folds = 1: input should be greater than or equal to 2"),
        ({"data.fold": 1}, "data.fold = 1: say how many there are as data.folds"),
        ({"data.folds": 3, "data.fold": 4}, "data.fold = 4: there are data.folds = 3"),
        ({"data.folds": 3, "data.val_split": "test"}, "data.folds = 3: each fold chooses best.pth on its own photo"),
        ({"data.share": 0}, "data.share = 0: input should be greater than 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)):
        load_settings(options=options)
