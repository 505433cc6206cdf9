"""Learning-rate schedules: how the learning rate rises and falls over the iterations."""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from faceparse.core.settings import OptimSettings


def poly_factor(iteration: int, *, iterations: int, power: float, warmup: int = 0) -> float:
    """(1 - iteration / iterations) ** power, after a linear rise over `warmup` iterations."""
    return _rise(iteration, warmup) * max(0.0, 1 - iteration / iterations) ** power


def cosine_factor(iteration: int, *, iterations: int, warmup: int = 0) -> float:
    """Half a cosine wave from 1 to 0 (Loshchilov and Hutter, SGDR, ICLR 2017), times the same rise."""
    return _rise(iteration, warmup) * (1 + math.cos(math.pi * min(1.0, iteration / iterations))) / 2


def _rise(iteration: int, warmup: int) -> float:
    return min(1.0, (iteration + 1) / (warmup + 1))


def set_rates(schedule: LambdaLR) -> None:
    """Set the optimizer's learning rates to those of the schedule's iteration, after a state was loaded.

    The state has the rates of the schedule that saved it, which may have had another end.
    """
    pairs = zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    rates: list[float | Tensor] = [base * factor(schedule.last_epoch) for base, factor in pairs]
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    schedule._last_lr = rates


def make_schedule(optimizer: Optimizer, settings: OptimSettings, iterations: int) -> LambdaLR:
    """Learning-rate schedule of the settings, for all parameter groups. Step it once per iteration."""
    warmup = settings.warmup
    if settings.schedule == "cosine":
        return LambdaLR(optimizer, lambda step: cosine_factor(step, iterations=iterations, warmup=warmup))
    return LambdaLR(
        optimizer, lambda step: poly_factor(step, iterations=iterations, power=settings.power, warmup=warmup)
    )
