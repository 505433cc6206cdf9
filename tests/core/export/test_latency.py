import time

import torch
from torch import Tensor

from faceparse.core.export.latency import BATCH, ROUNDS, measure


class Slow:
    input_size = (32, 32)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[int] = []

    def __call__(self, crops: Tensor) -> Tensor:
        assert crops.shape[1:] == (32, 32, 3)
        self.asked.append(len(crops))
        time.sleep(self.seconds * len(crops))
        return torch.zeros(1)


def test_networks_take_turns_and_are_timed_by_the_crop() -> None:
    networks = {"fast": Slow(0.001), "slow": Slow(0.01)}
    speeds = measure(networks)
    for network in networks.values():
        assert network.asked == [1, BATCH] * (ROUNDS + 1)
    # Sleeping takes at least as long as it was asked for.
    assert speeds["slow"].latency >= 0.01
    assert speeds["slow"].throughput <= 100
    assert speeds["fast"].latency < speeds["slow"].latency
