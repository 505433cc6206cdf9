"""What a delivery makes, and what stops it."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.errors import TrackingError
from faceparse.core.runs.delivery import Delivery, open_delivery
from faceparse.core.runs.shared_tracking import SharedTracking
from faceparse.core.runs.tracking_record import Parcel, TrackingRecord, read_tracking, write_tracking
from tests.core.runs.conftest import Run


def never_delivered(folder: Path, database: Path) -> Path:
    """A run directory that names a database, whose run nobody has made yet."""
    folder.mkdir(parents=True)
    write_tracking(
        folder, TrackingRecord(f"sqlite:///{database}", "tests", "run", "k", 1.0, {}, {}, status="FINISHED", ended=2.0)
    )
    return folder


def test_no_database_is_made_where_only_a_stranger_s_run_names_it(tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "mlflow.db"
    database.parent.mkdir()
    folder = never_delivered(tmp_path / "given" / "runs" / "x" / "run", database)
    with pytest.raises(TrackingError, match=r"not delivered: status FINISHED \(the database is not there\)"):
        open_delivery(folder, list).deliver_rest()
    assert list(database.parent.iterdir()) == []


def test_a_delivery_is_told_whether_it_may_make_the_database(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    folder = never_delivered(tmp_path / "run", database)
    tracking = read_tracking(folder)
    assert tracking is not None
    refused = Delivery(SharedTracking(folder, tracking), list, warn=pytest.fail, make=False)
    with pytest.raises(FileNotFoundError, match="the database is not there"):
        refused.try_once()
    assert not database.exists()
    assert Delivery(SharedTracking(folder, tracking), list, warn=pytest.fail).try_once() == Parcel(status="FINISHED")
    assert database.exists()


@pytest.mark.parametrize("near", ["above", "setting"])
def test_a_run_that_never_reached_its_database_makes_it_where_training_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: str
) -> None:
    work = f"work{secrets.token_hex(2)}"  # MLflow keeps what it opened, by its path
    database = tmp_path / work / "mlflow.db"
    place = tmp_path / (work if near == "above" else "other")
    database.parent.mkdir()
    if near == "setting":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    folder = never_delivered(place / "runs" / "x" / "run", database)
    assert open_delivery(folder, list).deliver_rest() == Parcel(status="FINISHED")
    assert database.exists()


@pytest.mark.parametrize("folder", ["../up", "a//b"])
def test_a_file_for_an_unfit_place_is_left_out_and_told(make: Callable[..., Run], folder: str) -> None:
    run = make().start()
    run.tracker.finish("FINISHED")
    (run.directory.path / "file.txt").write_text("x")
    (run.directory.path / "other.txt").write_text("longer")
    path = run.directory.path / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {"file.txt": folder, "other.txt": None}}))
    warnings: list[str] = []
    delivery = open_delivery(run.directory.path, run.directory.metrics, warn=warnings.append)
    assert delivery.deliver_rest() == Parcel(files=1, refused=1)
    assert len(warnings) == 1
    assert f"refuses file.txt (Invalid artifact path: '{folder}'" in warnings[0]
    assert not run.outstanding
