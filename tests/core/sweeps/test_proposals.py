import math
import sys

import pytest

from faceparse.core.errors import FaceparseError, ResourceError, SettingsError
from faceparse.core.settings import Settings
from faceparse.core.sweeps.proposals import check_sampler, propose
from faceparse.core.sweeps.space import Params, Space, parse_space
from faceparse.core.sweeps.sweep_file import Trial


def parse(*over: str) -> Space:
    return parse_space(Settings(), over)


def score(params: Params) -> float:
    return -abs(math.log10(float(params.get("optim.lr", 1))) + 3)


def search(space: Space, count: int, sampler: str, seed: int = 0, failing: int | None = None) -> list[Params]:
    """Parameters of the first `count` trials, fewer where there are no more."""
    trials: list[Trial] = []
    while len(trials) < count and (params := propose(space, trials, sampler=sampler, seed=seed)) is not None:
        number = len(trials) + 1
        failed = number == failing
        trials.append(Trial(number, params, "failed" if failed else "finished", None if failed else score(params)))
    return [trial.params for trial in trials]


def test_a_grid_is_tried_in_its_order() -> None:
    space = parse("optim.lr=1,2", "train.epochs=5..6")
    expected = [{"optim.lr": lr, "train.epochs": epochs} for lr in "12" for epochs in (5, 6)]
    assert search(space, 9, "grid", seed=1) == search(space, 9, "grid", seed=2) == expected


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_every_combination_is_tried_once(sampler: str) -> None:
    space = parse("optim.lr=1,2,3,4", "train.epochs=5..10")
    found = search(space, 99, sampler)
    assert sorted(map(str, found)) == sorted(map(str, search(space, 99, "grid")))
    assert found != search(space, 99, "grid")
    assert found != search(space, 99, sampler, seed=1)
    assert found == search(space, 99, sampler)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_ranges_are_kept_to(sampler: str) -> None:
    found = search(parse("optim.lr=1e-5..1e-1:log", "train.epochs=5..7", "train.batch_size=4,7"), 30, sampler)
    rates = [float(params["optim.lr"]) for params in found]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert len(set(rates)) == 30
    assert 5 < sum(rate < 1e-3 for rate in rates) < 25  # evenly spread, they would nearly all be above
    assert {params["train.epochs"] for params in found} == {5, 6, 7}
    assert {type(params["train.epochs"]) for params in found} == {int}
    assert {params["train.batch_size"] for params in found} == {"4", "7"}


def test_tpe_learns_from_the_scores() -> None:
    def median(sampler: str) -> float:
        late = search(parse("optim.lr=1e-9..1e-1:log"), 40, sampler)[20:]
        return sorted(map(score, late))[len(late) // 2]

    assert median("tpe") > -1 > median("random")


def test_a_failed_trial_is_none_to_learn_from_or_to_repeat() -> None:
    space = parse("optim.lr=1,2,3", "train.batch_size=4,7")
    found = search(space, 99, "tpe", failing=2)
    assert len(found) == len({str(params) for params in found}) == 6


def test_a_space_without_end_to_be_counted_is_searched() -> None:
    found = search(parse(f"train.seed=0..{2**63 - 1}"), 3, "random")
    assert len({params["train.seed"] for params in found}) == 3
    assert search(parse(f"train.seed=7..{2**63 - 1}"), 2, "grid") == [{"train.seed": 7}, {"train.seed": 8}]


@pytest.mark.parametrize(
    ("sampler", "over", "expected"),
    [
        ("bayes", "optim.lr=1,2", "--sampler 'bayes': one of tpe, random, grid"),
        ("grid", "optim.lr=1..2", "--sampler grid: optim.lr is a range of fractions; write its choices, or use tpe"),
    ],
)
def test_a_sampler_that_does_not_fit_is_refused(sampler: str, over: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_sampler(sampler, parse(over))
    assert str(caught.value) == expected


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ResourceError) as caught:
        check_sampler("tpe", parse("optim.lr=1,2"))
    assert str(caught.value) == "a sweep needs optuna: pip install optuna, or '.[sweep]' where faceparse is cloned"
    assert issubclass(ResourceError, FaceparseError)
