"""The order of an epoch: each sample once, a pure function of seed and epoch."""

import pytest

from faceparse.core.data.sampler import Draw, EpochSampler


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
