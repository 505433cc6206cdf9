"""Each class order is recognised by its faces, and nothing is recognised where there is nothing to see."""

from collections.abc import Sequence

import numpy as np
import pytest

from faceparse.core.checking.class_orders import MIN_SCORE, ORDERS, detect_order, order_table, score_order
from faceparse.core.checking.moments import Moments, label_moments, stack_moments
from faceparse.core.labels.label_set import LabelSet, get_label_set
from tests.core.checking.celeba import CELEBA, celeba_pair

FOREIGN = ["FaRL/SegFace", "zllrunning"]


@pytest.fixture(scope="module")
def labels() -> list[np.ndarray]:
    return [celeba_pair(index)[1] for index in range(20)]


def as_set(labels: Sequence[np.ndarray]) -> Moments:
    return stack_moments([label_moments(label, 19) for label in labels], 19)


def in_order(labels: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
    table = np.arange(256, dtype=np.uint8)
    for index, name in enumerate(CELEBA.names):
        table[index] = list(names).index(name)
    return [table[label] for label in labels]


def reordered(name: str) -> LabelSet:
    colours = CELEBA.classes
    return LabelSet(name=name, side="subject", classes={part: colours[part] for part in ORDERS[name].split()})


def test_the_official_order_is_the_label_sets() -> None:
    assert tuple(ORDERS["official"].split()) == get_label_set("celebamask-hq").names
    assert {frozenset(order.split()) for order in ORDERS.values()} == {frozenset(CELEBA.names)}


def test_the_drawn_labels_hold_every_class(labels: list[np.ndarray]) -> None:
    assert as_set(labels).present.any(axis=0).all()


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_order_is_named(labels: list[np.ndarray], name: str) -> None:
    assert detect_order(as_set(in_order(labels, ORDERS[name].split())), CELEBA) == name


def test_the_official_order_is_the_label_sets_own(labels: list[np.ndarray]) -> None:
    assert detect_order(as_set(labels), CELEBA) == "celebamask-hq"


@pytest.mark.parametrize("name", FOREIGN)
def test_an_order_is_foreign_only_to_another_label_set(labels: list[np.ndarray], name: str) -> None:
    own = reordered(name).model_copy(update={"name": "mine"})
    assert detect_order(as_set(in_order(labels, own.names)), own) == "mine"
    assert detect_order(as_set(labels), own) == "official"


@pytest.mark.parametrize("name", ORDERS)
def test_five_labels_are_enough_and_four_are_not(labels: list[np.ndarray], name: str) -> None:
    ordered = in_order(labels, ORDERS[name].split())
    for start in range(0, 20, 5):
        found = detect_order(as_set(ordered[start : start + 5]), CELEBA)
        assert found == ("celebamask-hq" if name == "official" else name)
        assert detect_order(as_set(ordered[start : start + 4]), CELEBA) is None


def test_an_unknown_order_gives_no_verdict(labels: list[np.ndarray]) -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        names = ["background", *random.permutation(CELEBA.names[1:])]
        assert detect_order(as_set(in_order(labels, names)), CELEBA) is None


def test_a_set_of_two_orders_gives_no_verdict(labels: list[np.ndarray]) -> None:
    mixed = labels[:10] + in_order(labels[10:], ORDERS["FaRL/SegFace"].split())
    assert detect_order(as_set(mixed), CELEBA) is None


def test_noise_and_bare_labels_give_no_verdict() -> None:
    random = np.random.default_rng(0)
    noise = [random.integers(0, 19, (40, 40), dtype=np.uint8) for _ in range(8)]
    assert detect_order(as_set(noise), CELEBA) is None
    bare = [np.pad(np.ones((20, 20), np.uint8), 10)] * 8  # an id that all orders give to something large
    assert detect_order(as_set(bare), CELEBA) is None
    assert detect_order(as_set([np.full((9, 9), 255, np.uint8)] * 8), CELEBA) is None
    assert detect_order(as_set([]), CELEBA) is None


def test_heads_down_gives_no_verdict(labels: list[np.ndarray]) -> None:
    assert detect_order(as_set([label[::-1] for label in labels]), CELEBA) is None


def test_other_label_sets_are_passed_over(labels: list[np.ndarray]) -> None:
    assert detect_order(as_set(labels), get_label_set("helen")) is None


def test_sides_do_not_matter(labels: list[np.ndarray]) -> None:
    assert detect_order(as_set([label[:, ::-1] for label in labels]), CELEBA) == "celebamask-hq"


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_holds_for_its_own_labels_alone(labels: list[np.ndarray], name: str) -> None:
    moments = as_set(in_order(labels, ORDERS[name].split()))
    scores = {other: score_order(moments, tuple(order.split())) for other, order in ORDERS.items()}
    assert scores.pop(name) > 0.98
    assert max(scores.values()) < 0.75 < MIN_SCORE


@pytest.mark.parametrize("name", FOREIGN)
def test_the_table_brings_the_labels_back(labels: list[np.ndarray], name: str) -> None:
    table = order_table(name, CELEBA)
    for label, foreign in zip(labels, in_order(labels, ORDERS[name].split()), strict=True):
        assert np.array_equal(table[foreign], label)
    assert table[19:].tolist() == list(range(19, 256))
