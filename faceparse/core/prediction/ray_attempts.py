"""Counts how often photographs ended the process that parsed them, and tells which of them count as broken.

A photograph that takes too much memory ends its process, and with it the whole batch. One process of the cluster
counts for all actors: an actor that is gone cannot.
"""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

TOGETHER = 2
"""How often a batch is parsed as a whole. After so many lost processes, its photographs are parsed one by one."""
ALONE = 2
"""How often a photograph is then parsed. After so many lost processes, it counts as broken."""


class _Counts:
    """Counts beginnings without an end, in the process that all actors call."""

    def __init__(self) -> None:
        self._begun = Counter[Hashable]()

    def begin(self, key: Hashable) -> int:
        self._begun[key] += 1
        return self._begun[key] - 1

    def end(self, key: Hashable) -> None:
        del self._begun[key]


@dataclass(frozen=True)
class Attempts:
    """The counting process, as any process of the cluster calls it."""

    counts: Any
    """Its handle in Ray."""
    together: int
    """Times that a batch is parsed as a whole."""
    alone: int
    """Times that each of its photographs is parsed then."""

    @classmethod
    def start(cls) -> "Attempts":
        """Start the counting process. It ends with the command."""
        import ray

        return cls(ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Counts).remote(), TOGETHER, ALONE)

    def may_go_together(self, batch: Hashable) -> bool:
        """Note that a batch's work begins. Whether it may be parsed as a whole."""
        return self._begin(batch) < self.together

    def problem(self, photograph: str) -> str | None:
        """Note that the work on a photograph alone begins. Why it counts as broken; None while it does not."""
        lost = self._begin(photograph)
        if lost < self.alone:
            return None
        return f"{photograph}: ended the process that parsed it {lost} times; does it take too much memory?"

    def end(self, key: Hashable) -> None:
        """Note that the work on a batch or a photograph has ended."""
        import ray

        ray.get(self.counts.end.remote(key))

    def _begin(self, key: Hashable) -> int:
        import ray

        return int(ray.get(self.counts.begin.remote(key)))
