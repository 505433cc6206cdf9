"""The order of the samples: a pure function of seed and epoch."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index), shuffled anew each epoch; an incomplete last batch is dropped, as in the recipe.

    The epoch travels with the index, so that loader processes need not be told of it.
    """

    def __init__(self, count: int, *, batch_size: int, seed: int) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.start = 0
        """Batches of the epoch that were trained on before."""

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for batch in range(self.start, len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, int(index)) for index in chosen]
