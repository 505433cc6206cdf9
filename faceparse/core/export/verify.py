"""Comparison of an exported file with PyTorch: its numbers, and its scores on a dataset."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import ExportError, first_line
from faceparse.core.export.formats import Format
from faceparse.core.images.crop import Fit
from faceparse.core.images.warp import Size
from faceparse.core.machine.parallel import Track, default_processes, untracked
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import Network
from faceparse.core.scoring.bootstrap import RESAMPLES
from faceparse.core.scoring.counting import count_samples
from faceparse.core.scoring.groups import Grouping
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.split import Split
from faceparse.core.scoring.summary import Summary

CHECKED_BATCHES = (1, 3)


@dataclass(frozen=True)
class Check:
    """PyTorch and the exported file on the same batch."""

    batch: int
    difference: float | None
    """Largest absolute difference of a logit; None where the file answers with labels."""
    agreement: float
    """Share of pixels with the same class."""


def compare_numbers(
    network: Network, exported: Network, crops: Tensor, known: Format, *, labels: bool, reference: str = "PyTorch"
) -> Check:
    """Compare the numbers of the exported file with PyTorch's on the same crops.

    Args:
        crops: N x H x W x 3 uint8 RGB.
        labels: whether the file answers with labels only.
        reference: what `network` is, for errors.

    Raises:
        ExportError: the file cannot be run, or is further from the reference than its format allows.
    """
    with torch.inference_mode():
        expected = network(crops)
        try:
            found = exported(crops)
        except Exception as error:  # the runtimes raise errors of many kinds
            raise ExportError(f"the exported file cannot be run ({first_line(error)}); nothing was written") from error
    if found.shape != expected.shape:
        raise ExportError(
            f"the exported file answers with shape {tuple(found.shape)}, {reference} with {tuple(expected.shape)}; "
            "nothing was written"
        )
    difference = None if labels else float((found - expected).abs().max())
    agreement = float((found.argmax(dim=1) == expected.argmax(dim=1)).float().mean())
    largest = known.difference * float(expected.abs().max())
    if not (difference is None or difference <= largest) or agreement < known.agreement:
        numbers = "" if difference is None else f"largest difference of a logit {difference:.2e}, "
        raise ExportError(
            f"the exported file disagrees with {reference} at batch {len(crops)}: {numbers}"
            f"the same class on {agreement:.3%} of pixels; nothing was written"
        )
    return Check(len(crops), difference, agreement)


def drawn_crops(count: int, size: Size) -> Tensor:
    """Drawn faces, N x H x W x 3 uint8 RGB. They are closer to what the network will see than noise."""
    drawn = [draw_face(np.random.default_rng(index), 256).image for index in range(count)]
    images = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in drawn]
    return torch.from_numpy(np.stack(images))


def score(
    network: Network,
    split: Split,
    groupings: tuple[Grouping, ...],
    track: Track = untracked,
    fit: Fit = "crop",
) -> Summary:
    """Score a network on the CPU by the default protocol.

    `groupings` are those of the split's photographs, as `photograph_groupings` gives them.
    """
    parser = Parser(network, torch.device("cpu"), fit)
    samples, label_set = split.samples, split.label_set
    workers = min(default_processes(), 8, len(samples) // 16)
    counts = count_samples(parser, samples, len(label_set), [DEFAULT], workers=workers, track=track)
    return Summary(counts[DEFAULT], label_set, RESAMPLES, groupings)
