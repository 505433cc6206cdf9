"""Groups of near-duplicates are those that a plain walk over all pairs gives."""

import csv
import hashlib

import numpy as np

from faceparse.core.checking.dedupe import Duplicates, Fingerprint, duplicates_csv, group_copies
from tests.core.checking.test_near_copies import COARSE, DETAIL, altered, correlations, noise


def fingerprints(thumbnails: np.ndarray, sizes: list[int] | None = None) -> list[Fingerprint]:
    """Photographs whose bytes all differ."""
    sides = sizes or [100] * len(thumbnails)
    return [
        Fingerprint(str(i), hashlib.sha256(str(i).encode()).digest(), grey, (side, side), 1000)
        for i, (grey, side) in enumerate(zip(thumbnails, sides, strict=True))
    ]


def names(groups: list[list[tuple[Fingerprint, float]]]) -> list[list[str]]:
    return [[one.where for one, _ in group] for group in groups]


def test_groups_are_those_of_a_walk_over_all_pairs() -> None:
    base = noise(30)
    thumbnails = np.concatenate([base, *(altered(base, strength, seed) for seed, strength in enumerate((2, 4, 5), 1))])
    sizes = np.random.default_rng(3).integers(100, 110, len(thumbnails)).tolist()
    coarse, detail = correlations(thumbnails)
    alike = (coarse >= COARSE) & (detail >= DETAIL)
    kept: dict[int, list[str]] = {}
    for i in sorted(range(len(thumbnails)), key=lambda i: -sizes[i]):
        home = next((one for one in kept if alike[one, i]), i)
        kept.setdefault(home, []).append(str(i))
    expected = [group for group in kept.values() if len(group) > 1]
    assert len(expected) > 20
    assert names(list(group_copies(fingerprints(thumbnails, sizes)))) == expected


def test_no_chain_joins_photographs_that_differ() -> None:
    one, other = noise(1), noise(1, seed=9)
    chain = [(one * (1 - t) + other * t).astype(np.uint8) for t in np.linspace(0, 1, 30)]
    groups = list(group_copies(fingerprints(np.concatenate(chain))))
    assert len(groups) > 1
    for group in groups:
        assert all(distance <= 1 - DETAIL + 1e-6 for _, distance in group)


def test_many_equal_photographs_are_one_group_and_black_ones_none() -> None:
    black = np.zeros((20_000, 32, 32), np.uint8)
    assert list(group_copies(fingerprints(black))) == []
    (group,) = group_copies(fingerprints(np.repeat(noise(1), 20_000, axis=0)))
    assert len(group) == 20_000


def test_black_photographs_with_the_same_bytes_are_a_group() -> None:
    black = [Fingerprint(name, b"same", np.zeros((32, 32), np.uint8), (9, 9), 70) for name in "abc"]
    assert names(list(group_copies(black))) == [["a", "b", "c"]]


def test_the_largest_is_kept_then_the_longest_file() -> None:
    grey = noise(1)[0]
    found = [
        Fingerprint("small", b"1", grey, (50, 50), 900),
        Fingerprint("short", b"2", grey, (80, 80), 100),
        Fingerprint("long", b"3", grey, (80, 80), 200),
    ]
    assert names(list(group_copies(found))) == [["long", "short", "small"]]


def test_nothing_has_no_groups() -> None:
    assert list(group_copies([])) == []


def test_the_list_keeps_names_whatever_they_hold() -> None:
    grey = noise(1)[0]
    found = [Fingerprint(name, b"1", grey, (20, 30), 7) for name in ('a,"b\n.jpg', "caf\udce9.jpg")]
    data = duplicates_csv(Duplicates(2, list(group_copies(found)), []))
    rows = list(csv.reader(data.decode("utf-8", "surrogateescape").splitlines(keepends=True)))
    assert rows == [
        ["group", "photograph", "distance", "kept", "width", "height", "bytes"],
        ["1", 'a,"b\n.jpg', "0.0000", "yes", "30", "20", "7"],
        ["1", "caf\udce9.jpg", "0.0000", "no", "30", "20", "7"],
    ]
