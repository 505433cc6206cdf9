"""From checkpoints to folders, scores and files in MLflow."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from mlflow.tracking import MlflowClient

from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.runs.sync import sync
from faceparse.core.scoring import evaluation as evaluations_module
from faceparse.core.scoring.evaluation import EvaluationReport, log_evaluation, run_evaluations
from faceparse.core.scoring.score_model import EvaluationPlan, plan_evaluations, score_checkpoint
from faceparse.core.scoring.summary import Evaluation
from faceparse.core.scoring.tta import Augmentation
from faceparse.core.training.run import RunResult
from tests.conftest import Server

CPU = torch.device("cpu")
FILES = {"scores.json", "images.csv", "report.html", "worst"}

History = Callable[[str], list[tuple[int, float]]]


@pytest.fixture(scope="module")
def checkpoint(trained: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Where it may be written beside."""
    folder = tmp_path_factory.mktemp("copied")
    for name in ("best.pth", "tracking.json"):
        shutil.copy(trained.run_dir / name, folder)
    return read_checkpoint(folder / "best.pth")


@pytest.fixture
def plan(checkpoint: Checkpoint) -> EvaluationPlan:
    return plan_evaluations([checkpoint])[0]


@pytest.fixture(scope="module")
def evaluation(checkpoint: Checkpoint) -> Evaluation:
    return score_checkpoint(plan_evaluations([checkpoint])[0], device=CPU, resamples=20, worst=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Stands for an evaluation's files."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "scores.json").write_text("{}")
    return tmp_path / "files"


@pytest.fixture
def history(store: str, checkpoint: Checkpoint) -> History:
    def read(name: str) -> list[tuple[int, float]]:
        found = MlflowClient(store).get_metric_history(str(checkpoint.run_id), name)
        return [(metric.step, metric.value) for metric in found]

    return read


def run(*plans: EvaluationPlan, output: Path | None = None, **options: Any) -> EvaluationReport:
    return run_evaluations(
        plans, device=CPU, output=output, batch_size=None, resamples=20, worst=1, warn=pytest.fail, **options
    )


# Logging.


def test_scores_are_logged_to_the_run_that_made_the_checkpoint(
    plan: EvaluationPlan, evaluation: Evaluation, folder: Path, history: History
) -> None:
    assert log_evaluation(plan, evaluation, folder, warn=pytest.fail) == plan.model.run_id
    scores = evaluation.scores["eagrnet"]
    assert history("test/f1_mean")[-1] == (1, pytest.approx(scores.mean_f1))
    assert history("test/f1/skin")[-1] == (1, pytest.approx(scores.f1["skin"]))
    assert history("test/f1_merged/eyes")[-1] == (1, pytest.approx(scores.merged_f1["eyes"]))
    assert history("test/boundary_f1_2px/skin")[-1] == (
        1, pytest.approx(scores.boundary_f1["boundary_f1_2px"]["skin"])
    )  # fmt: skip


def test_each_protocol_dataset_crop_and_augmentation_has_a_name_of_its_own(
    plan: EvaluationPlan, evaluation: Evaluation, folder: Path, history: History, store: str
) -> None:
    before = history("test/miou")
    summaries = dict.fromkeys(("label", "farl"), evaluation.summaries["eagrnet"])
    others = dataclasses.replace(evaluation, summaries=summaries)
    other = dataclasses.replace(
        plan,
        split=dataclasses.replace(plan.split, root=Path("elsewhere/lapa")),
        input_size=(96, 80),
        protocols=["label", "farl"],
        augmentation=Augmentation(flip=True),
    )
    log_evaluation(other, others, folder, warn=pytest.fail)
    for protocol in summaries:
        name = f"lapa.test.{protocol}.96x80.tta-flip"
        assert history(f"{name}/miou") == [(1, pytest.approx(evaluation.scores["eagrnet"].mean_iou))]
        tags = MlflowClient(store).get_run(str(plan.model.run_id)).data.tags
        assert (tags[f"{name}.images"], tags[f"{name}.checkpoint"]) == ("2", str(plan.model.path))
    assert history("test/miou") == before
    assert other.folder == Path("eval/best.pth/lapa.test.label+farl.96x80.tta-flip")
    assert plan.folder == Path("eval/best.pth/test")


def test_checkpoints_without_a_run_are_logged_nowhere(
    plan: EvaluationPlan, evaluation: Evaluation, folder: Path
) -> None:
    for without in ({"run_id": None, "path": Path("elsewhere/best.pth")}, {"tracking_uri": None}):
        other = dataclasses.replace(plan, model=dataclasses.replace(plan.model, **without))  # type: ignore[arg-type]
        assert log_evaluation(other, evaluation, folder, warn=pytest.fail) is None


def test_a_checkpoint_from_before_its_run_was_made_asks_its_run_directory(
    plan: EvaluationPlan, evaluation: Evaluation, folder: Path
) -> None:
    other = dataclasses.replace(plan, model=dataclasses.replace(plan.model, run_id=None))
    assert log_evaluation(other, evaluation, folder, warn=pytest.fail) == plan.model.run_id


def test_a_run_that_is_gone_costs_a_warning(plan: EvaluationPlan, evaluation: Evaluation, folder: Path) -> None:
    warnings: list[str] = []
    other = dataclasses.replace(plan, model=dataclasses.replace(plan.model, run_id="0" * 32))
    assert log_evaluation(other, evaluation, folder, warn=warnings.append) is None
    assert len(warnings) == 1


def test_a_server_that_is_away_gets_the_scores_from_sync(
    trained: RunResult, evaluation: Evaluation, folder: Path, tmp_path: Path, server: Server, history: History
) -> None:
    run_dir = Path(shutil.copytree(trained.run_dir, tmp_path / "run"))
    state = run_dir / "tracking.json"
    moved = {"uri": server.uri, "folder": str(run_dir)}  # a copy would leave nothing to sync
    state.write_text(json.dumps(json.loads(state.read_text()) | moved))
    model = dataclasses.replace(read_checkpoint(run_dir / "best.pth"), tracking_uri=server.uri)
    views = Augmentation(flip=True, scales=(0.7,))  # no other test's
    plan = dataclasses.replace(plan_evaluations([model])[0], augmentation=views)
    server.stop()
    warnings: list[str] = []
    for _ in range(2):
        assert log_evaluation(plan, evaluation, folder, warn=warnings.append) is None
    expected = f"the scores are not delivered (Connection refused); later: faceparse sync {run_dir}"
    assert warnings == [f"MLflow at {server.uri}: {expected}"] * 2
    with FileLock(run_dir / ".lock"):  # a run that trains delivers for itself, and knows nothing of evaluations
        log_evaluation(plan, evaluation, folder, warn=warnings.append)
    assert warnings[2] == f"MLflow at {server.uri} failed, the scores are not logged there: Connection refused"
    server.start()
    assert str(sync(run_dir).delivered) == "1 evaluations"
    assert history(f"test.{views.name}/miou") == [(1, pytest.approx(evaluation.scores["eagrnet"].mean_iou))]


# Folders.


def test_one_checkpoint_has_its_folder_beside_it_and_in_mlflow(plan: EvaluationPlan, store: str) -> None:
    outcome = run(plan)
    folder = plan.model.path.parent / "eval" / "best.pth" / "test"
    assert {path.name for path in folder.iterdir()} == FILES
    assert outcome.report == folder / "report.html"
    assert (outcome.runs, outcome.comparison) == ([plan.model.run_id], None)
    uploaded = MlflowClient(store).list_artifacts(str(plan.model.run_id), plan.folder.as_posix())
    assert {Path(file.path).name for file in uploaded} == FILES
    (worst,) = outcome.evaluations[0].worst
    images = outcome.evaluations[0].summaries["eagrnet"].images["mean_f1"]
    assert (worst.mean_f1, worst.id) == (images.min(), outcome.evaluations[0].ids[int(images.argmin())])


def test_several_checkpoints_have_one_each_and_one_together(plan: EvaluationPlan, tmp_path: Path, store: str) -> None:
    copy = shutil.copy(plan.model.path, tmp_path / "last.pth")
    other = dataclasses.replace(plan, model=dataclasses.replace(plan.model, path=Path(copy)))
    outcome = run(plan, other, output=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"best.pth", "last.pth", "comparison"}
    found = json.loads((tmp_path / "out" / "comparison" / "comparison.json").read_text())
    difference = found["differences"]["eagrnet"]["last.pth"]["mean_f1"]
    assert difference == {"difference": 0.0, "interval": [0.0, 0.0], "p_value": 1.0, "significant": False}
    assert outcome.report == tmp_path / "out" / "comparison" / "comparison.html"
    artifacts = MlflowClient(store).list_artifacts(str(plan.model.run_id), "eval/last.pth/test.comparison")
    assert {Path(file.path).name for file in artifacts} == {"comparison.html", "comparison.json"}


def test_what_cannot_be_compared_is_refused_before_any_work(
    plan: EvaluationPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations_module, "score_checkpoint", lambda *_, **__: pytest.fail("work"))
    model = dataclasses.replace(plan.model, path=Path("b/best.pth"))
    foreign = dataclasses.replace(
        plan, model=model, split=dataclasses.replace(plan.split, label_set=get_label_set("fasseg"))
    )
    elsewhere = dataclasses.replace(plan, model=model, split=dataclasses.replace(plan.split, root=tmp_path))
    for other, kind, expected in (
        (foreign, SettingsError, "does not say what its labels mean: fasseg for .*b/best.pth, helen for .*--label-set"),
        (elsewhere, SettingsError, "b/best.pth would be scored on .*; name one with --data-dir"),
        (plan, SettingsError, "a checkpoint is named twice"),
    ):
        with pytest.raises(kind, match=expected):
            run(plan, other, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    plan: EvaluationPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations_module, "score_checkpoint", lambda *_, **__: pytest.fail("work"))
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(OutputError, match=r"^cannot write "):
            run(plan, output=output)


def test_a_broken_image_leaves_the_last_evaluation_as_it_was(
    checkpoint: Checkpoint, own_faces: Path, tmp_path: Path
) -> None:
    (plan,) = plan_evaluations([checkpoint], data_dir=own_faces)
    run(plan, output=tmp_path / "out")
    before = {path: path.read_bytes() for path in tmp_path.rglob("out/**/*") if path.is_file()}
    photograph = plan.split.samples[1].image
    photograph.write_bytes(photograph.read_bytes()[:300])
    with pytest.raises(DatasetError, match="truncated JPEG"):
        run(plan, output=tmp_path / "out")
    assert {path: path.read_bytes() for path in tmp_path.rglob("out/**/*") if path.is_file()} == before


def test_an_augmented_evaluation_is_another_one(plan: EvaluationPlan, evaluation: Evaluation) -> None:
    flipped = dataclasses.replace(plan, augmentation=Augmentation(flip=True))
    found = score_checkpoint(flipped, device=CPU, resamples=0, worst=0)
    assert found.tta == "tta-flip"
    assert found.scores["eagrnet"].f1 != evaluation.scores["eagrnet"].f1


@pytest.mark.parametrize("name", ["test", "test.comparison"])
def test_folders_beside_a_checkpoint_that_lead_out_are_refused_before_any_work(
    plan: EvaluationPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The checkpoint's folder may be a stranger's, with links in it."""
    monkeypatch.setattr(evaluations_module, "score_checkpoint", lambda *_, **__: pytest.fail("work"))
    home, outside = tmp_path / "home", tmp_path / "outside"
    first, second = (
        dataclasses.replace(plan, model=dataclasses.replace(plan.model, path=home / f"{one}.pth")) for one in "ab"
    )
    outside.mkdir()
    link = (home / first.folder).with_name(name)
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(OutputError, match=r"a link leads to .*outside, outside .*home; put a file or folder"):
        run(first, second)
    assert not list(outside.iterdir())
