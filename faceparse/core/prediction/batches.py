"""Runs the network on the crops of many pictures, batch by batch."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from faceparse.core.faces.crops import Crop
from faceparse.core.parser.inference import Parser


class Cropped(Protocol):
    """Anything with crops, such as a photograph or a frame."""

    @property
    def crops(self) -> Sequence[Crop]:
        """Crops for the network; empty if the picture could not be read or shows no face."""


P = TypeVar("P", bound=Cropped)


def batch_logits(parser: Parser, pictures: Iterable[P], batch_size: int) -> Iterator[tuple[P, list[Tensor]]]:
    """Yield each picture with its crops' logits, C x h x w, on the device, which may still be computing them."""
    pictures = iter(pictures)
    while batch := list(islice(pictures, batch_size)):
        crops = [crop.image for picture in batch for crop in picture.crops]
        chunks = (crops[start : start + batch_size] for start in range(0, len(crops), batch_size))
        logits = list(chain.from_iterable(parser.logits(_stack(chunk, parser.device)) for chunk in chunks))
        done = 0
        for picture in batch:
            count = len(picture.crops)
            yield picture, logits[done : done + count]
            done += count


def _stack(crops: Sequence[np.ndarray], device: torch.device) -> Tensor:
    stacked = torch.from_numpy(np.stack(crops))
    return stacked.pin_memory() if device.type == "cuda" else stacked  # unpinned, the copy waits for all earlier work
