import math

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from faceparse.core.settings import OptimSettings
from faceparse.core.training.schedule import cosine_factor, make_schedule, poly_factor, set_rates


def rates(settings: OptimSettings, iterations: int) -> list[float]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.lr)
    schedule = make_schedule(optimizer, settings, iterations)
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_the_rate_of_each_iteration_is_the_poly_formula(power: float) -> None:
    found = rates(OptimSettings(lr=0.01, power=power), 40)
    assert found == pytest.approx([0.01 * (1 - i / 40) ** power for i in range(40)])
    assert found[0] == 0.01
    assert found[-1] > 0


def test_power_zero_is_a_constant_rate() -> None:
    assert rates(OptimSettings(lr=0.01, power=0), 5) == [0.01] * 5


def test_warmup_rises_in_equal_steps_to_the_poly_curve() -> None:
    found = rates(OptimSettings(lr=1, power=0.9, warmup=4), 20)
    poly = [(1 - i / 20) ** 0.9 for i in range(20)]
    assert found[:4] == pytest.approx([poly[i] * (i + 1) / 5 for i in range(4)])
    assert found[4:] == pytest.approx(poly[4:])


def test_the_rate_ends_at_zero_and_stays_there() -> None:
    factors = [poly_factor(i, iterations=10, power=0.9) for i in (10, 11, 1000)]
    assert factors == [0.0, 0.0, 0.0]


def test_a_schedule_goes_on_where_it_was_saved() -> None:
    settings = OptimSettings(lr=0.01)
    optimizers = [SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01) for _ in range(2)]
    first, second = (make_schedule(optimizer, settings, 10) for optimizer in optimizers)
    for _ in range(4):
        optimizers[0].step()
        first.step()
    second.load_state_dict(first.state_dict())
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    for optimizer, schedule in zip(optimizers, (first, second), strict=True):
        optimizer.step()
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**0.9)


@pytest.mark.parametrize(("iterations", "expected"), [(10, 0.6**0.9), (20, 0.8**0.9), (5, 0.2**0.9)])
def test_the_rates_of_a_loaded_schedule_are_those_of_its_own_end(iterations: int, expected: float) -> None:
    """Of each group, and bit for bit what they were where the end is the same."""
    settings = OptimSettings(lr=0.01)

    def make(iterations: int) -> tuple[SGD, LambdaLR]:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.01, 0.003)]
        optimizer = SGD(groups)
        return optimizer, make_schedule(optimizer, settings, iterations)

    (before, first), (optimizer, second) = make(10), make(iterations)
    for _ in range(4):
        before.step()
        first.step()
    second.load_state_dict(first.state_dict())
    optimizer.load_state_dict(before.state_dict())
    set_rates(second)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == second.get_last_lr() == pytest.approx([0.01 * expected, 0.003 * expected])
    if iterations == 10:
        assert rates == [group["lr"] for group in before.param_groups]
    optimizer.step()
    second.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * (1 - 5 / iterations) ** 0.9)


def test_the_cosine_is_half_a_wave_after_the_same_rise() -> None:
    found = rates(OptimSettings(lr=0.5, schedule="cosine", warmup=4), 20)
    wave = [0.25 + 0.25 * math.cos(math.pi * i / 20) for i in range(20)]
    assert found[:4] == pytest.approx([wave[i] * (i + 1) / 5 for i in range(4)])
    assert found[4:] == pytest.approx(wave[4:])
    assert found[10] == pytest.approx(0.25)


def test_the_cosine_stays_at_zero_after_its_end() -> None:
    assert [cosine_factor(i, iterations=10) for i in (10, 11, 1000)] == pytest.approx([0.0, 0.0, 0.0])
