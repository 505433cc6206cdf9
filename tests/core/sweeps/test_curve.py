"""A learning curve of the smallest runs, and what it says of more labels."""

import json
from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.scoring.bootstrap import Difference, Interval
from faceparse.core.sweeps.curve import Curve, Point, half_of, judge, resume_curve, train_curve
from tests.conftest import Silent, shown_to
from tests.core.sweeps.conftest import Make, logged
from tests.core.sweeps.killing import kill_in_second_trial

SHARES = [0.5, 1.0]


@pytest.fixture(scope="module")
def reference(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Curve:
    """Two shares without interruption. Not to be written to."""
    folder = tmp_path_factory.mktemp("runs") / "curve"
    return train_curve(make(tracking__experiment="curve", train__run_dir=folder), SHARES, shown_to(Silent()))


def test_all_shares_have_the_same_updates_on_nested_photographs(reference: Curve) -> None:
    """And the same val."""
    assert [point.trained_on for point in reference.points] == [(6, 6), (12, 12)]
    for number in (1, 2):
        log = (reference.path / f"trial-00{number}/train.log").read_text()
        assert "3 iterations an epoch" in log
        assert f"{6 * number} training and 2 val photographs" in log


def test_a_point_is_the_score_of_its_network_on_val(reference: Curve) -> None:
    for number, point in enumerate(reference.points, 1):
        scores = read_checkpoint(reference.path / f"trial-00{number}/best.pth").scores
        assert point.score == pytest.approx(scores["f1_mean"], abs=1e-12)
        assert point.interval is not None
        assert point.interval.low <= point.interval.high
    assert reference.rise.value == reference.points[1].score - reference.points[0].score
    assert (reference.scored, reference.groups, reference.start) == (2, 2, reference.points[0])


def test_two_photographs_allow_no_verdict(reference: Curve) -> None:
    assert reference.verdict.startswith(
        "Whether more labels would help cannot be said: only 2 photographs or people are scored; with 12 training "
        "photographs in place of 6, mean F1 changes by "
    )
    assert reference.verdict.endswith("Score more of them with --folds.")


def test_the_curve_is_on_disk_and_in_mlflow(reference: Curve, store: str) -> None:
    said = json.loads((reference.path / "curve.json").read_text())
    assert [point["mean_f1"] for point in said["points"]] == [point.score for point in reference.points]
    assert said["verdict"] == reference.verdict
    assert "<polyline" in (reference.path / "curve.html").read_text()
    parent, children = logged(store, "curve")
    assert parent.data.tags["verdict"] == reference.verdict
    assert parent.data.params == {"data.share": "0.5,1"}
    assert [run.data.params["data.share"] for run in children] == ["0.5", "1.0"]


def test_a_curve_that_was_killed_goes_on_as_if_it_had_not_been(reference: Curve, make: Make, store: str) -> None:
    settings = make(tracking__experiment="killed-curve", train__checkpoint_every=1)
    kill_in_second_trial(["curve", "--shares", "0.5,1", "--curve-dir", "killed"], settings, Path("killed"))
    result = resume_curve(Path("killed"), shown_to(Silent()))
    assert result.points == reference.points
    assert result.rise == reference.rise
    parent, children = logged(store, "killed-curve")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3


def test_with_folds_every_photograph_is_scored(make: Make) -> None:
    settings = make(tracking__enabled=False, data__folds=2, train__run_dir="curve", train__batch_size=3)
    curve = train_curve(settings, SHARES, shown_to(Silent()))
    assert [point.trained_on for point in curve.points] == [(4, 4), (7, 7)]
    assert (curve.scored, curve.groups) == (14, 14)
    assert "cannot be said" not in curve.verdict


@pytest.mark.parametrize("shares", [[1.0], [0.5, 0.5], [1.0, 0.5], [0.0, 1.0], [0.5, 1.5], []])
def test_bad_shares_are_refused(make: Make, shares: list[float], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--shares .*: give at least two, growing, above 0 and up to 1"):
        train_curve(make(train__run_dir=tmp_path / "curve"), shares, shown_to(Silent()))
    assert list(tmp_path.iterdir()) == []


def test_a_single_fold_has_no_curve(make: Make) -> None:
    with pytest.raises(SettingsError, match=r"^data.fold = 1: a curve trains all folds; drop it$"):
        train_curve(make(data__folds=2, data__fold=1), SHARES, shown_to(Silent()))


@pytest.mark.parametrize(
    ("interval", "groups", "expected"),
    [
        ((0.002, 0.02), 50, "More labels would probably help: with 40 training photographs in place of 20, mean F1 "
         "changes by +1.0 points (95 % interval +0.2 to +2.0)."),
        ((-0.002, 0.02), 50, "Whether more labels would help is open: with 40 training photographs in place of 20, "
         "mean F1 changes by +1.0 points (95 % interval -0.2 to +2.0), which chance explains, too."),
        ((-0.02, -0.002), 50, "More labels of this kind do not help: with 40 "),
        ((0.002, 0.02), 9, "Whether more labels would help cannot be said: only 9 photographs or people are scored; "),
    ],
)  # fmt: skip
def test_the_verdict_says_no_more_than_the_interval(interval: tuple[float, float], groups: int, expected: str) -> None:
    start, end = (Point(share, (count, count), 0.9, None) for share, count in ((0.5, 20), (1, 40)))
    assert judge(start, end, Difference(0.01, Interval(*interval), 0.01), groups).startswith(expected)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [((0.25, 0.5, 0.75, 1.0), 0.5), ((0.1, 0.2, 0.9), 0.2), ((0.6, 0.8, 1.0), 0.8), ((0.75, 1.0), 0.75)],
)
def test_the_rise_is_from_half_of_the_photographs(shares: tuple[float, ...], expected: float) -> None:
    assert half_of([Point(share, (1, 1), 0.5, None) for share in shares]).share == expected
