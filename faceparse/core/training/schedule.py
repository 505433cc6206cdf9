"""The poly learning-rate schedule."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from faceparse.core.settings import OptimSettings


def poly_factor(iteration: int, *, iterations: int, power: float, warmup: int = 0) -> float:
    """(1 - iteration / iterations) ** power, after a linear rise over `warmup` iterations."""
    rise = min(1.0, (iteration + 1) / (warmup + 1))
    return rise * max(0.0, 1 - iteration / iterations) ** power


def poly_schedule(optimizer: Optimizer, settings: OptimSettings, iterations: int) -> LambdaLR:
    """Stepped once per iteration."""
    return LambdaLR(
        optimizer,
        lambda iteration: poly_factor(iteration, iterations=iterations, power=settings.power, warmup=settings.warmup),
    )
