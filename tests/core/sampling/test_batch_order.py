"""The order of an epoch: each sample once, or by its share; a pure function of seed and epoch."""

import numpy as np
import pytest

from faceparse.core.sampling.batch_order import Draw, EpochSampler


def order(count: int, *, batch_size: int = 4, seed: int = 0, epoch: int = 0) -> list[list[Draw]]:
    sampler = EpochSampler(count, batch_size=batch_size, seed=seed)
    sampler.epoch = epoch
    return list(sampler)


def flat(batches: list[list[Draw]]) -> list[int]:
    return [index for batch in batches for _, index, _ in batch]


@pytest.mark.parametrize(("count", "batch_size"), [(12, 4), (13, 4), (15, 4), (7, 7), (8, 3), (3, 4), (0, 4)])
def test_each_index_comes_once_but_for_an_incomplete_last_batch(count: int, batch_size: int) -> None:
    batches = order(count, batch_size=batch_size)
    assert [len(batch) for batch in batches] == [batch_size] * (count // batch_size)
    assert len(EpochSampler(count, batch_size=batch_size, seed=0)) == len(batches)
    indices = flat(batches)
    assert len(set(indices)) == len(indices) == count - count % batch_size
    assert set(indices) <= set(range(count))


def test_who_is_left_out_changes_with_the_epoch() -> None:
    left_out = {frozenset(range(13)) - frozenset(flat(order(13, epoch=epoch))) for epoch in range(60)}
    assert left_out == {frozenset([index]) for index in range(13)}


def test_the_epoch_travels_with_each_index() -> None:
    for epoch in (0, 1, 7):
        assert {with_it for batch in order(12, epoch=epoch) for with_it, *_ in batch} == {epoch}


def test_equal_seed_and_epoch_give_the_equal_order() -> None:
    assert order(40, seed=3, epoch=5) == order(40, seed=3, epoch=5)
    sampler = EpochSampler(40, batch_size=4, seed=3)
    sampler.epoch = 5
    assert list(sampler) == list(sampler) == order(40, seed=3, epoch=5)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(flat(order(40, seed=seed, epoch=epoch))) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_an_epoch_can_begin_in_its_middle() -> None:
    sampler = EpochSampler(13, batch_size=4, seed=1)
    whole = list(sampler)
    for start in range(4):
        sampler.start = start
        assert list(sampler) == whole[start:]


def test_indices_are_plain_numbers() -> None:
    assert {type(part) for batch in order(12) for pair in batch for part in pair} == {int}


# Some more often than others.

SHARES = np.array([1.0, 1.0, 3.0, 1.5, 1.0, 2.2, 1.0, 0.4, 1.0, 5.0, 1.0, 1.0])


def drawn(*, seed: int = 0, epoch: int = 0, rank: int = 0, size: int = 1, batch_size: int = 1) -> list[Draw]:
    sampler = EpochSampler(12, batch_size=batch_size, seed=seed, rank=rank, size=size, shares=SHARES)
    sampler.epoch = epoch
    return [draw for batch in sampler for draw in batch]


def test_each_sample_comes_as_often_as_its_share_says_rounded_up_or_down() -> None:
    expected = SHARES / SHARES.sum() * 12
    total = np.zeros(12)
    for epoch in range(200):
        draws = drawn(epoch=epoch)
        assert len(draws) == 12
        times = np.bincount([draw.sample for draw in draws], minlength=12)
        assert ((np.floor(expected) <= times) & (times <= np.ceil(expected))).all()
        total += times
    assert np.abs(total / 200 - expected).max() < 0.12


def test_appearances_of_a_sample_are_counted() -> None:
    draws = drawn(epoch=3)
    for sample in range(12):
        copies = sorted(draw.copy for draw in draws if draw.sample == sample)
        assert copies == list(range(len(copies)))
    assert max(draw.copy for draw in draws) >= 1


def test_shares_too_are_a_function_of_seed_and_epoch() -> None:
    assert drawn(seed=3, epoch=5) == drawn(seed=3, epoch=5)
    orders = {tuple(drawn(seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_processes_share_out_the_same_draws() -> None:
    whole = drawn(epoch=2, batch_size=4)
    parts = [drawn(epoch=2, rank=rank, size=2, batch_size=2) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert whole[:4] == parts[0][:2] + parts[1][:2]


def test_equal_shares_draw_each_sample_once() -> None:
    sampler = EpochSampler(12, batch_size=12, seed=0, shares=np.full(12, 1.7))
    (batch,) = sampler
    assert sorted(draw.sample for draw in batch) == list(range(12))
    assert {draw.copy for draw in batch} == {0}


def test_an_epoch_may_have_more_draws_than_samples() -> None:
    """As many updates with a part of the photographs as with all; each appearance is augmented in its own way."""
    sampler = EpochSampler(5, batch_size=4, seed=0, draws=12)
    draws = [draw for batch in sampler for draw in batch]
    assert len(sampler) == 3
    assert len(set(draws)) == 12
    for copy, count in ((0, 5), (1, 5), (2, 2)):
        assert len({sample for _, sample, which in draws if which == copy}) == count


def test_shares_fill_an_epoch_of_more_draws() -> None:
    sampler = EpochSampler(4, batch_size=2, seed=0, draws=16, shares=np.array([1.0, 1.0, 2.0, 4.0]))
    counts = np.bincount(flat(list(sampler)), minlength=4)
    assert counts.tolist() == [2, 2, 4, 8]


def test_the_first_draws_do_not_depend_on_their_number() -> None:
    assert order(12) == list(EpochSampler(12, batch_size=4, seed=0, draws=12))
    assert order(12) == list(EpochSampler(12, batch_size=4, seed=0, draws=20))[:3]
