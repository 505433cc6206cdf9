import hashlib
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import DatasetError
from faceparse.core.parser.inference import Parser
from faceparse.core.scoring import model_facts
from faceparse.core.scoring.model_facts import file_facts, measure_speed

CPU = torch.device("cpu")


class Slow:
    """Takes as long as it is told, on a clock of its own."""

    input_size = (32, 48)

    def __init__(self, times: list[float]) -> None:
        self.times, self.now, self.shapes = times, 0.0, list[tuple[int, ...]]()

    def __call__(self, crops: Tensor) -> Tensor:
        self.shapes.append(tuple(crops.shape))
        self.now += self.times[len(self.shapes) - 1]
        return torch.zeros(1, 3, 32, 48)


def test_the_speed_is_the_median_after_a_first_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_facts, "PASSES", 10)
    network = Slow([9.0, *[0.1] * 6, *[0.3] * 4])
    monkeypatch.setattr(time, "perf_counter", lambda: network.now)
    speed = measure_speed(Parser(network, CPU))
    assert speed.seconds_per_image == pytest.approx(0.1)
    assert network.shapes == [(1, 32, 48, 3)] * 11
    assert speed.threads == torch.get_num_threads()
    assert speed.device


def test_slow_networks_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Slow([5.0, 3.0])
    monkeypatch.setattr(time, "perf_counter", lambda: network.now)
    assert measure_speed(Parser(network, CPU)).seconds_per_image == 3


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"weights")
    found = file_facts(tmp_path / "best.pth")
    assert (found.bytes, found.sha256) == (7, hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(DatasetError, match="cannot read"):
        file_facts(tmp_path / "gone.pth")
