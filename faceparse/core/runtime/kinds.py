"""Kinds of exported files: their inputs and outputs."""

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["logits", "labels"]
"""`logits`: `image` N x 3 x H x W float32, normalised -> `parsing` N x C x H x W float32.
`labels`: `image` N x H x W x 3 uint8 RGB -> `labels` N x H x W uint8."""

Sizes = Literal["any", "fixed"]
"""Sizes of the crops that a file takes: `any` (sides are multiples of `STEP`) or `fixed` (`input_size` only)."""


class InputNumbers(Protocol):
    """How the bytes of a crop become numbers; settings say it, too."""

    @property
    def channel_order(self) -> str:
        """`rgb` or `bgr`."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Means of the channels in that order, from 0 to 1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Their standard deviations."""


@dataclass(frozen=True)
class PlainNumbers:
    """The same as a file states it."""

    channel_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
