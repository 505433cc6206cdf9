"""Facts about a scored model beside its scores: its file, and its speed on this machine.

The classes are pydantic models: `scores.json` is written from them, and what anybody wrote is read by them.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field

from faceparse.core.machine.device import hardware_name
from faceparse.core.parser.inference import Parser
from faceparse.core.runtime.checksums import sha256

PASSES = 10
"""Most passes whose times are taken."""
SECONDS = 2.0
"""Time after which no further pass begins."""


class ModelFile(BaseModel):
    """Size and content of a model's file."""

    model_config = ConfigDict(frozen=True)

    bytes: Annotated[int, Field(strict=True, ge=0, lt=2**53)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Speed(BaseModel):
    """Time that a network takes for one photograph's crop on a named machine, all views of the augmentation together.

    Reading, cropping and counting are not in it.
    """

    model_config = ConfigDict(frozen=True)

    seconds_per_image: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    device: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the processor or the GPU."""
    threads: Annotated[int, Field(strict=True, ge=1, lt=2**20)] | None
    """Number of threads on a CPU; None on a GPU."""


def file_facts(path: Path, weights: Sequence[Path] | None = None) -> ModelFile:
    """Size and hash of a model's file. The size is that of other files, where it only names the `weights`.

    Raises:
        DatasetError: it cannot be read.
    """
    return ModelFile(sha256=sha256(path), bytes=sum(file.stat().st_size for file in weights or [path]))


def measure_speed(parser: Parser) -> Speed:
    """Time of one crop at a time: the median of several passes, after one that warms up."""
    crop = torch.randint(256, (1, *parser.input_size, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    times: list[float] = []
    for turn in range(PASSES + 1):
        started = time.perf_counter()
        parser.logits(crop)[0, 0, 0, 0].item()  # waits for a GPU
        if turn:
            times.append(time.perf_counter() - started)
        if sum(times) > SECONDS:
            break
    threads = torch.get_num_threads() if parser.device.type == "cpu" else None
    return Speed(seconds_per_image=median(times), device=hardware_name(parser.device), threads=threads)
