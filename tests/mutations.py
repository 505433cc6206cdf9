"""What strangers' files may hold: seeded changes of bytes and of fields. Also what the robustness benchmark tries."""

import copy
import random
from collections.abc import Iterator
from typing import Any


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


NASTY: list[Any] = [
    None, True, -1, 0, 10**400, 2**63, 0.5, float("nan"), float("inf"), "", "x" * 10_000, "\0", "../../x", "NaN",
    "\ud800", [], [1, 2], [None] * 3, [[1.0, 2.0]] * 4, {}, {"a": 1}, {"": {"": ""}}, deep(300),
]  # fmt: skip


def changed_bytes(data: bytes, count: int, *, seed: int = 14, within: int | None = None) -> Iterator[bytes]:
    """Truncated, overwritten and with pieces doubled, in turn; `within`: only before that position."""
    dice = random.Random(seed)
    for number in range(count):
        new, end = bytearray(data), min(len(data), within or len(data))
        place = dice.randrange(end)
        if number % 3 == 0:
            del new[place:]
        elif number % 3 == 1:
            for _ in range(dice.choice([1, 4, 20])):
                new[dice.randrange(end)] = dice.randrange(256)
        else:
            new[place:place] = new[place : place + dice.choice([1, 10, 200])]
        yield bytes(new)


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything in nested containers."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*at, key)
        yield from paths(part, (*at, key))


def changed_fields(
    content: Any, count: int, *, seed: int = 14, extra: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, Any]]:
    """(what was done, content) with one field replaced by a nasty value, or taken out."""
    dice, places = random.Random(seed), list(paths(content))
    for number in range(count):
        place, new = dice.choice(places), copy.deepcopy(content)
        owner = new
        for key in place[:-1]:
            owner = owner[key]
        value = dice.choice([*NASTY, *extra])
        if number % 5 == 0:
            del owner[place[-1]]
        else:
            owner[place[-1]] = copy.deepcopy(value)
        yield (place, "gone" if number % 5 == 0 else value), new
