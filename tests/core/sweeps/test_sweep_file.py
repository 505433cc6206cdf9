import json
from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.sweeps.sweep_file import Record, Trial, best_of, is_sweep, ranked, read_record, write_record

TRIALS = [
    Trial(1, {"optim.lr": 0.1 + 0.2, "train.epochs": 3, "train.batch_size": "4"}, "finished", 0.5, 2, "abc"),
    Trial(2, {}, "failed", error="the loss is not finite"),
    Trial(3, {}, "finished", 0.75, 1),
    Trial(4, {}, "finished", 0.75, 1),
    Trial(5, {}),
]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record({"train": {"epochs": 3}}, ["optim.lr=1,2"], "tpe", 7, None, TRIALS)
    assert not is_sweep(tmp_path)
    write_record(tmp_path, record)
    assert is_sweep(tmp_path)
    assert read_record(tmp_path) == record


def test_the_first_with_the_highest_score_is_the_best() -> None:
    assert [trial.number for trial in ranked(TRIALS)] == [3, 4, 1]
    best = best_of(TRIALS)
    assert best is not None
    assert best.name == "trial-003"
    assert best_of(TRIALS[1:2]) is None


def test_what_is_no_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_record(tmp_path)
    expected = "not a sweep directory (no sweep.json in it); one is runs/<experiment>/sweep-<time>-<id>"
    assert str(caught.value) == f"{tmp_path}: {expected}"
    for content in ("{", "[]", "{}", json.dumps({"trials": [{"numbr": 1}]}), json.dumps({"trials": []})):
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(SettingsError) as caught:
            read_record(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/sweep.json: cannot be read (")
        assert str(caught.value).endswith("; put it back, or begin a new sweep")
