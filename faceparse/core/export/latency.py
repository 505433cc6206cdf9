"""Speed of each exported file on this machine beside PyTorch, all measured in one run."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import torch

from faceparse.core.export.verify import drawn_crops
from faceparse.core.parser.trained import Network

BATCH = 8
ROUNDS = 5


@dataclass(frozen=True)
class Speed:
    """Time for one crop, and crops per second."""

    latency: float
    """Seconds for one crop."""
    throughput: float
    """Crops per second, `BATCH` at a time."""


def measure(networks: Mapping[str, Network]) -> dict[str, Speed]:
    """Measure each network on the CPU: medians of rounds in which each network has its turn."""
    times: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in networks for batch in (1, BATCH)}
    with torch.inference_mode():
        for turn in range(ROUNDS + 1):
            for (name, batch), kept in times.items():
                crops = drawn_crops(1, networks[name].input_size).expand(batch, -1, -1, -1)
                started = time.perf_counter()
                networks[name](crops)
                if turn:  # the first round warms up
                    kept.append(time.perf_counter() - started)
    return {name: Speed(median(times[name, 1]), BATCH / median(times[name, BATCH])) for name in networks}
