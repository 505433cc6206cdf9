import shutil
from pathlib import Path

import pytest

from faceparse.core.errors import TrackingError
from faceparse.core.runs import tracker
from faceparse.core.runs.sync import sync
from faceparse.core.sweeps.sweep import sweep
from faceparse.core.sweeps.sweep_file import read_record
from faceparse.core.sweeps.sync_sweep import sync_sweep
from tests.conftest import Server, Silent, shown_to
from tests.core.sweeps.conftest import Make, assert_points_once, logged


def test_a_sweep_that_mlflow_did_not_hear_of_is_delivered_whole(
    make: Make, server: Server, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "END_PATIENCE", 0.2)
    server.stop()
    settings = make(tracking__experiment="away", tracking__uri=server.uri)
    observer = Silent()
    result = sweep(
        settings,
        ["optim.lr=1e-3,2e-3"],
        trials=None,
        sampler="grid",
        seed=0,
        sweep_dir=None,
        display=shown_to(observer),
    )
    assert [trial.state for trial in result.trials] == ["finished"] * 2
    assert result.path.parent == Path("runs/away")
    assert result.path.name.startswith("sweep-")
    assert observer.warnings[-1].endswith(f"; later: faceparse sync {result.path}")
    server.start()
    with pytest.raises(TrackingError) as caught:
        sync(result.path / "trial-001")
    expected = f"its sweep is not in MLflow yet; first: faceparse sync {result.path}"
    assert str(caught.value) == f"{result.path}/trial-001: {expected}"

    done = sync_sweep(result.path)
    assert list(done) == [result.path, result.path / "trial-001", result.path / "trial-002"]
    parent, children = logged(store, "away")
    assert [run.info.run_id for run in (parent, *children)] == [one.run_id for one in done.values()]
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert_points_once(store, parent, {1, 2})
    for run in children:
        assert_points_once(store, run, {1})
    record = read_record(result.path)
    assert [trial.run_id for trial in record.trials] == [run.info.run_id for run in children]
    best = record.trials[result.trials[0].number - 1]
    assert parent.data.tags["best_run_id"] == best.run_id
    assert not any(one.delivered for one in sync_sweep(result.path).values())
    shutil.rmtree(result.path / "trial-001")  # thrown away to save space
    assert list(sync_sweep(result.path)) == [result.path, result.path / "trial-002"]
