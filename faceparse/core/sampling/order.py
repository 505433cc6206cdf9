"""The order of the samples: a pure function of seed and epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One appearance of a sample."""

    epoch: int
    sample: int
    """Position in the dataset."""
    copy: int = 0
    """Which of its appearances in the epoch, from 0."""


class EpochSampler(Sampler[list[Draw]]):
    """Batches of draws, shuffled anew each epoch; what is left of an iteration is dropped, as in the recipe.

    An iteration takes `accumulate` large batches, of which each process has its part. The epoch travels with the index,
    so that loader processes need not be told of it.
    """

    def __init__(
        self,
        count: int,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        size: int = 1,
        accumulate: int = 1,
        shares: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            rank: this process, of `size`.
            batch_size: that of each process.
            shares: `count` positive numbers, in whose proportion samples are drawn; None draws each once an epoch.
        """
        self.count = count
        self.shares = shares
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.size = rank, size
        self.accumulate = accumulate
        self.epoch = 0
        self.start = 0
        """Iterations of the epoch that were trained on before."""

    @property
    def iterations(self) -> int:
        """Of a whole epoch."""
        return self.count // (self.batch_size * self.size * self.accumulate)

    def __len__(self) -> int:
        """Batches of a whole epoch, in each process."""
        return self.iterations * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = self._draws()
        for batch in range(self.start * self.accumulate, len(self)):
            first = (batch * self.size + self.rank) * self.batch_size
            yield draws[first : first + self.batch_size]

    def _draws(self) -> list[Draw]:
        """Of the whole epoch, `count` of them."""
        dice = np.random.default_rng([self.seed, self.epoch])
        order = dice.permutation(self.count)
        if self.shares is None:
            return [Draw(self.epoch, int(index)) for index in order]
        # Systematic resampling: each sample appears as often as its share says, rounded up or down by one throw.
        ends = self.count * np.cumsum(self.shares[order]) / self.shares.sum()
        ends[-1] = self.count
        times = np.diff(np.floor(ends + dice.random()), prepend=0).astype(int)
        times[-1] += self.count - times.sum()
        draws = [
            Draw(self.epoch, int(index), copy)
            for index, count in zip(order, times, strict=True)
            for copy in range(count)
        ]
        return [draws[position] for position in dice.permutation(self.count)]
