"""Training state in a checkpoint. All of it is checked before any of it is used."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from torch.optim import SGD, Optimizer

from faceparse.core.errors import CheckpointError
from faceparse.core.text.shapes import explain

Count = Annotated[int, Field(ge=0, lt=2**53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, arbitrary_types_allowed=True)


class OptimizerState(_Part):
    """State of a PyTorch optimizer."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class ScheduleState(_Part):
    """State of a PyTorch learning-rate schedule."""

    base_lrs: list[Finite]
    last_epoch: Count
    step_count: Count = Field(alias="_step_count")
    last_lr: list[Finite] = Field(alias="_last_lr")


class ScalerState(_Part):
    """State of the gradient scaler; empty where gradients are not scaled."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    growth_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = None
    backoff_factor: Annotated[float, Field(gt=0, lt=1)] | None = None
    growth_interval: Annotated[int, Field(gt=0)] | None = None
    growth_tracker: Count | None = Field(None, alias="_growth_tracker")


class EpochState(_Part):
    """Position in the epoch under way."""

    done: Count
    lr: Finite
    sums: Tensor


class TrainerState(_Part):
    """State of a trainer, see `Trainer.state_dict`."""

    optimizer: OptimizerState
    schedule: ScheduleState
    scaler: ScalerState = Field(default_factory=lambda: ScalerState.model_validate({}))
    weights: dict[str, Tensor] | None = None
    iteration: Count
    epoch: EpochState
    rng: Tensor


class BestState(_Part):
    """Best score so far and its epoch."""

    score: Finite
    epoch: Count
    since: Count = 0
    """Evaluations since then."""


class TrainingState(_Part):
    """Value of a checkpoint's key `training`."""

    trainer: TrainerState
    best: BestState
    listing: dict[str, str] = Field(default_factory=dict)
    """Hash of the photographs of train and val; empty in checkpoints of earlier versions."""
    update_size: Annotated[int, Field(gt=0, lt=2**31)]


def read_training_state(content: Mapping[str, Any] | None, where: object) -> TrainingState:
    """Check the training state of a checkpoint.

    Raises:
        CheckpointError: something is missing, or has another type.
    """
    try:
        state = TrainingState.model_validate(content)
    except ValidationError as error:
        raise CheckpointError(f"{where}: damaged training state, {explain(error)}; copy it again") from None
    trainer = state.trainer
    if not _is_plain(trainer.rng, torch.get_rng_state()):
        raise CheckpointError(
            f"{where}: damaged training state, trainer.rng is not the state of a random generator; copy it again"
        )
    if trainer.epoch.sums.dim() != 1 or trainer.epoch.sums.dtype != torch.float32:
        raise CheckpointError(f"{where}: damaged training state, trainer.epoch.sums are no sums; copy it again")
    return state


def fitting_optimizer_state(
    saved: OptimizerState, optimizer: Optimizer, untrained: Collection[Tensor] = ()
) -> dict[str, Any]:
    """Argument for `optimizer.load_state_dict`: the saved state, without keys that the optimizer does not know.

    Args:
        untrained: parameters that may have no state, all of them or none, because they were frozen.

    Raises:
        ValueError: the state is of another optimizer, or of other parameters.
    """
    own = optimizer.state_dict()["param_groups"]
    if [len(group["params"]) for group in own] != [_length(group.get("params")) for group in saved.param_groups]:
        raise ValueError("its optimizer has other groups of parameters")
    groups = [_fitting_group(theirs, ours) for theirs, ours in zip(saved.param_groups, own, strict=True)]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = {"momentum_buffer"} if isinstance(optimizer, SGD) else {"step", "exp_avg", "exp_avg_sq"}
    frozen = {index for index, parameter in enumerate(parameters) if any(parameter is one for one in untrained)}
    every = set(range(len(parameters)))  # every parameter that is not frozen gets a gradient
    if saved.state and saved.state.keys() not in (every, every - frozen):
        raise ValueError(f"its optimizer does not know the {len(parameters)} parameters")
    for index, values in saved.state.items():
        fits = values.keys() == names and all(_fits(*item, parameters[index]) for item in values.items())
        if not fits:
            raise ValueError(f"the optimizer's state of parameter {index} is not of such a parameter")
    if len({value is None for values in saved.state.values() for value in values.values()}) > 1:
        raise ValueError("its optimizer knows the momentum of some parameters only")
    return {"state": saved.state, "param_groups": groups}


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else -1


def _fitting_group(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Our group with their values. Refuse values of other types, which would end the run at its first step."""
    if not all(isinstance(index, int) for index in theirs["params"]) or theirs["params"] != ours["params"]:
        raise ValueError("its optimizer numbers the parameters otherwise")
    for key in theirs.keys() & ours.keys():
        if not _alike(theirs[key], ours[key]):
            raise ValueError(f"its optimizer's {key} is no such value")
    return dict(ours) | {key: value for key, value in theirs.items() if key in ours or key == "initial_lr"}


def _alike(theirs: Any, ours: Any) -> bool:
    if isinstance(ours, bool) or ours is None:
        return theirs is None or isinstance(theirs, bool)
    if isinstance(ours, (int, float)):
        return isinstance(theirs, (int, float)) and not isinstance(theirs, bool) and abs(theirs) < float("inf")
    if isinstance(ours, (list, tuple)):
        same = isinstance(theirs, (list, tuple)) and len(theirs) == len(ours)
        return same and all(_alike(one, other) for one, other in zip(theirs, ours, strict=True))
    return type(theirs) is type(ours)


def _fits(name: str, value: object, parameter: Tensor) -> bool:
    if name == "step":
        return isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point()
    return value is None or (isinstance(value, Tensor) and _is_plain(value, parameter))


def _is_plain(value: Tensor, like: Tensor) -> bool:
    """Whether `value` is a plain tensor with the shape and dtype of `like`, and its file holds all of its data."""
    dense = value.layout == torch.strided and not value.is_quantized
    return (
        dense
        and value.shape == like.shape
        and value.dtype == like.dtype
        and value.numel() * value.itemsize <= value.untyped_storage().nbytes()
    )
