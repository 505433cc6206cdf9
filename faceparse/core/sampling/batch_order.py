"""Order of the samples: a pure function of seed and epoch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One appearance of a sample in an epoch."""

    epoch: int
    sample: int
    """Position in the dataset."""
    copy: int = 0
    """Which of the sample's appearances in the epoch, from 0."""


class EpochSampler(Sampler[list[Draw]]):
    """Batches of draws, shuffled anew each epoch. Drops what is left of an iteration, as in the recipe.

    An iteration takes `accumulate` large batches, and each process has its part of them. The epoch travels with the
    index, so that loader processes need not know it.
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
        draws: int | None = None,
    ) -> None:
        """Set the order of an epoch's batches.

        Args:
            draws: draws of an epoch, at least `count`. Default: `count`.
            rank: number of this process, among `size` processes.
            batch_size: photographs per batch in each process.
            shares: `count` positive numbers; samples are drawn in proportion. None draws all samples equally often.
        """
        self.count, self.draws = count, draws or count
        self.shares = shares
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.size = rank, size
        self.accumulate = accumulate
        self.epoch = 0
        self.start = 0
        """Iterations of the epoch to skip, because they were trained before."""

    @property
    def iterations(self) -> int:
        """Iterations of a whole epoch."""
        return self.draws // (self.batch_size * self.size * self.accumulate)

    def __len__(self) -> int:
        """Number of batches of a whole epoch, in each process."""
        return self.iterations * self.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = self._draws()
        for batch in range(self.start * self.accumulate, len(self)):
            first = (batch * self.size + self.rank) * self.batch_size
            yield draws[first : first + self.batch_size]

    def _draws(self) -> list[Draw]:
        """Draws of the whole epoch, `draws` of them."""
        dice = np.random.default_rng([self.seed, self.epoch])
        order = dice.permutation(self.count)
        if self.shares is None:
            copies = -(-self.draws // max(1, self.count))
            orders = [order, *(dice.permutation(self.count) for _ in range(copies - 1))]
            found = [Draw(self.epoch, int(index), copy) for copy, one in enumerate(orders) for index in one]
            return found[: self.draws]
        # Systematic resampling: a sample appears as often as its share says, rounded up or down by one random number.
        ends = self.draws * np.cumsum(self.shares[order]) / self.shares.sum()
        ends[-1] = self.draws
        times = np.diff(np.floor(ends + dice.random()), prepend=0).astype(int)
        times[-1] += self.draws - times.sum()
        draws = [
            Draw(self.epoch, int(index), copy)
            for index, count in zip(order, times, strict=True)
            for copy in range(count)
        ]
        return [draws[position] for position in dice.permutation(self.draws)]
