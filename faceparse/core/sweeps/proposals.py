"""Propose the parameters of the next trial. The only file that imports optuna."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from faceparse.core.errors import ResourceError, SettingsError
from faceparse.core.sweeps.space import Axis, Choices, FloatRange, IntRange, Params, Space
from faceparse.core.sweeps.sweep_file import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SAMPLERS = ("tpe", "random", "grid")


def check_sampler(sampler: str, space: Space) -> None:
    """Check that the sampler exists and fits the space.

    Raises:
        SettingsError: there is no such sampler, or it does not fit the space.
        ResourceError: optuna is not installed.
    """
    if sampler not in SAMPLERS:
        raise SettingsError(f"--sampler {sampler!r}: one of {', '.join(SAMPLERS)}")
    endless = [axis.key for axis in space.axes if isinstance(axis, FloatRange)]
    if sampler == "grid" and endless:
        raise SettingsError(f"--sampler grid: {endless[0]} is a range of fractions; write its choices, or use tpe")
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ResourceError(
            "a sweep needs optuna: pip install optuna, or '.[sweep]' where faceparse is cloned"
        ) from None


def propose(space: Space, trials: Sequence[Trial], *, sampler: str, seed: int) -> Params | None:
    """Parameters of the next trial; None where all combinations were tried.

    They depend on nothing but the arguments, so a resumed sweep proposes the same as one that never stopped.
    """
    tried = [trial.params for trial in trials]
    size = space.size
    if size is not None and len(tried) >= size:
        return None
    if sampler != "grid":
        found = _ask(space, trials, sampler, seed)
        if size is None or found not in tried:
            return found
    assert size is not None
    chance = random.Random(f"{seed} {len(tried)}")
    start = 0 if sampler == "grid" else chance.randrange(size)
    return next(params for step in range(size) if (params := space.at((start + step) % size)) not in tried)


def _ask(space: Space, trials: Sequence[Trial], sampler: str, seed: int) -> Params:
    """Ask optuna for parameters. A new study for each question answers like a study that never stopped."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {axis.key: _distribution(axis) for axis in space.axes}
    chosen = optuna.samplers.TPESampler if sampler == "tpe" else optuna.samplers.RandomSampler
    own_seed = random.Random(f"{seed} {len(trials)}").getrandbits(32)
    study = optuna.create_study(direction="maximize", sampler=chosen(seed=own_seed))
    for trial in trials:
        finished = trial.state == "finished"
        state = TrialState.COMPLETE if finished else TrialState.FAIL
        score = trial.score if finished else None
        study.add_trial(create_trial(state=state, value=score, params=trial.params, distributions=distributions))
    return study.ask(distributions).params


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match axis:
        case Choices():
            return CategoricalDistribution(axis.values)
        case IntRange():
            return IntDistribution(axis.low, axis.high, log=axis.log)
        case FloatRange():
            return FloatDistribution(axis.low, axis.high, log=axis.log)
