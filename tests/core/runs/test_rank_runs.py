import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError, TrackingError
from faceparse.core.runs.rank_runs import Ranked, compare_runs, find_run, rank_runs
from tests.conftest import Server
from tests.core.runs.conftest import Run, until

BEST = "val/f1_mean"


@pytest.fixture
def log(make: Callable[..., Run]) -> Callable[..., Run]:
    """A finished run of these scores by epoch, whose best.pth is that of the highest."""

    def log(folder: str, *scores: float, tags: dict[str, str] | None = None, **settings: object) -> Run:
        run = make(folder=folder, **settings).start()
        for epoch, score in enumerate(scores, 1):
            run.directory.record(epoch, {"train/loss": 10.0 * epoch, BEST: score, "val/f1/nose": score / 2})
        if scores:
            best = max(range(len(scores)), key=lambda index: scores[index])
            run.tracker.tag({"best_epoch": str(best + 1), "best_score": f"{scores[best]:.6f}"})
        run.tracker.tag(tags or {})
        until(lambda: not run.outstanding)
        run.tracker.finish("FINISHED")
        return run

    return log


def shown(ranked: list[Ranked]) -> list[tuple[str, float | None]]:
    return [(one.run.name, one.score) for one in ranked]


def test_the_best_run_comes_first_by_the_score_of_its_best_epoch(log: Callable[..., Run], store: str) -> None:
    log("a", 0.25, 0.5, 0.375, experiment="ranked")
    log("b", 0.75, 0.0, experiment="ranked")
    log("c", experiment="ranked")
    ranked = rank_runs(store, experiment="ranked")
    assert list(ranked) == ["ranked"]
    assert shown(ranked["ranked"]) == [("b", 0.75), ("a", 0.5), ("c", None)]
    run = ranked["ranked"][1].run
    assert (run.epochs, run.best_epoch, run.status) == (3, 2, "FINISHED")
    assert run.ended is not None
    assert 0 <= run.ended - run.started < 60

    by_class = rank_runs(store, experiment="ranked", by="val/f1/nose")["ranked"]
    assert shown(by_class) == [("b", 0.375), ("a", 0.25), ("c", None)]  # of the best epochs, not the last
    by_loss = rank_runs(store, experiment="ranked", by="train/loss")["ranked"]
    assert shown(by_loss) == [("b", 20.0), ("a", 30.0), ("c", None)]  # the newest, and less is better


def test_each_run_is_ranked_by_the_metric_that_chose_its_best(log: Callable[..., Run], store: str) -> None:
    log("a", 0.5, experiment="own", tags={"best_metric": "val/f1/nose", "best_score": "0.250000"})
    (one,) = rank_runs(store, experiment="own")["own"]
    assert (one.run.metric, one.score) == ("val/f1/nose", 0.25)


def test_trials_stand_below_their_sweep(make: Callable[..., Run], log: Callable[..., Run], store: str) -> None:
    sweep = make(folder="sweep", experiment="swept").start()
    log("sweep/trial-001", 0.25, experiment="swept", run_name="trial-001")
    log("sweep/trial-002", 0.75, experiment="swept", run_name="trial-002")
    sweep.tracker.finish("FINISHED")
    log("alone", 0.5, experiment="swept")
    first, second = rank_runs(store, experiment="swept")["swept"]
    assert shown([first, second]) == [("sweep", 0.75), ("alone", 0.5)]
    assert shown(first.children) == [("trial-002", 0.75), ("trial-001", 0.25)]


def test_what_is_misspelt_is_named_with_the_nearest(log: Callable[..., Run], store: str) -> None:
    run = log("misspelt", 0.5, experiment="misspelt")
    with pytest.raises(SettingsError) as caught:
        rank_runs(store, by="val/f1_men")
    assert str(caught.value) == f"--by 'val/f1_men': no run at {store} has this metric; did you mean 'val/f1_mean'?"
    with pytest.raises(SettingsError) as caught:
        rank_runs(store, experiment="mispelt")
    assert str(caught.value) == f"--experiment 'mispelt': not at {store}; did you mean 'misspelt'?"
    with pytest.raises(SettingsError) as caught:
        find_run("mispelt", store)
    expected = f"no run at {store} has this name or id; did you mean 'misspelt'?; see: faceparse runs"
    assert str(caught.value) == f"'mispelt': {expected}"
    assert find_run("misspelt", store).id == run.run_id


def test_a_run_goes_by_directory_or_the_beginning_of_its_name_or_id(log: Callable[..., Run], store: str) -> None:
    run = log("by-name", 0.5)
    for reference in (run.directory.path, "by-name", "by-na", run.run_id, run.run_id[:12]):
        assert find_run(str(reference), store).id == run.run_id
    with pytest.raises(SettingsError, match="no run at"):
        find_run("", store)


def test_a_name_of_several_runs_is_refused_with_their_ids(log: Callable[..., Run], store: str) -> None:
    runs = [log(f"{folder}/same", 0.5, experiment="several", run_name="same") for folder in "ab"]
    with pytest.raises(SettingsError) as caught:
        find_run("same", store)
    text = str(caught.value)
    assert text.startswith("'same' could be 2 runs: ")
    assert all(f"{run.run_id[:8]} (several/same)" in text for run in runs)
    assert text.endswith("; give the beginning of one's id")


def test_a_comparison_has_what_differs_and_the_scores_of_the_best_epochs(log: Callable[..., Run], store: str) -> None:
    a = log("first", 0.5, 0.25, tags={"fingerprint.val": "same", "device": "here"})
    b = log("second", 0.25, 0.75, tags={"fingerprint.val": "same", "device": "there"})
    c = log("third")
    found = compare_runs(["first", str(b.directory.path), c.run_id], store)
    assert [run.id for run in found.runs] == [a.run_id, b.run_id, c.run_id]
    assert found.settings == {}
    assert found.origin == {"device": ["here", "there", None], "fingerprint.val": ["same", "same", None]}
    assert found.scores == {BEST: [0.5, 0.75, None], "val/f1/nose": [0.25, 0.375, None]}
    assert found.differences(BEST) == [0.25, None]
    with pytest.raises(SettingsError, match=r"^third: run \w{8} is named twice; name two runs$"):
        compare_runs(["third", "third"], store)


def test_only_settings_that_differ_are_compared(log: Callable[..., Run], store: str) -> None:
    runs = [log(f"settings-{value}") for value in (1, 2)]
    for run, value in zip(runs, (1, 2), strict=True):
        path = run.directory.path / "tracking.json"
        params = {"train.epochs": str(value), "train.run_dir": str(value), "train.seed": "0"}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"params": params}))
        run.sync()
    assert compare_runs(["settings-1", "settings-2"], store).settings == {"train.epochs": ["1", "2"]}


def test_a_store_that_cannot_be_read_is_one_line(
    server: Server, make: Callable[..., Run], tmp_path: Path, store: str
) -> None:
    missing = f"sqlite:///{tmp_path}/none.db"
    with pytest.raises(TrackingError) as caught:
        rank_runs(missing)
    expected = "no MLflow database there; train a run first, or name a store with --uri"
    assert str(caught.value) == f"{tmp_path}/none.db: {expected}"
    assert list(tmp_path.iterdir()) == []
    server.stop()
    with pytest.raises(TrackingError) as caught:
        rank_runs(server.uri)
    expected = "cannot be read: Connection refused; start it, or name another store with --uri"
    assert str(caught.value) == f"MLflow at {server.uri} {expected}"

    run = make(server.uri, "unsent").start()
    run.tracker.finish("FINISHED")
    with pytest.raises(TrackingError) as caught:
        find_run(str(run.directory.path), store)
    path = run.directory.path
    assert str(caught.value) == f"{path}: not in MLflow yet; first: faceparse sync {path}"
    (tmp_path / "untracked").mkdir()
    with pytest.raises(TrackingError, match=r"untracked: not tracked in MLflow \(no tracking\.json in it\)"):
        find_run(str(tmp_path / "untracked"), store)
