"""The order of the samples: a pure function of seed and epoch."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), shuffled anew each epoch; what is left of an iteration is dropped, as in the recipe.

    An iteration takes `accumulate` large batches, of which each process has its part. The epoch travels with the index,
    so that loader processes need not be told of it.
    """

    def __init__(
        self, count: int, *, batch_size: int, seed: int, rank: int = 0, size: int = 1, accumulate: int = 1
    ) -> None:
        """`rank` is this process of `size`; `batch_size` is that of each."""
        self.count = count
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

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for batch in range(self.start * self.accumulate, len(self)):
            first = (batch * self.size + self.rank) * self.batch_size
            yield [(self.epoch, int(index)) for index in order[first : first + self.batch_size]]
