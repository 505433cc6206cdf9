"""Regions that people draw with annotation tools, and the label map that they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from faceparse.core.errors import DatasetError
from faceparse.core.images.decoding import MAX_PIXELS
from faceparse.core.images.warp import Size
from faceparse.core.labels.classes import IGNORE, Classes

IGNORED_NAMES = ("__ignore__", "ignored")
"""Names of regions whose pixels do not count: LabelMe's, and that of a mapping file."""
BACKGROUND_NAME = "_background_"
"""LabelMe's name of the background."""
OUTSIDE = 0.05
"""How far a region may reach beyond its picture, as a share of the longer side. What is outside is cut off."""


class Part(NamedTuple):
    """The pixels of a region."""

    rows: slice
    columns: slice
    inside: np.ndarray
    """True at its pixels, h x w bool, in these rows and columns of the picture."""
    doubled: int = 0
    """Number of pixels that its outline goes round twice, because it crosses itself. They are not inside."""


class Shape(Protocol):
    """The pixels that a region covers, as its file describes them."""

    def part(self, size: Size) -> Part:
        """Return its pixels in a picture of `size`.

        Raises:
            ValueError: it covers nothing, or does not fit the picture; the message is half a line.
        """


@dataclass(frozen=True)
class Region:
    """A shape and the name of its class, as they are in a file."""

    name: str
    shape: Shape
    key: str
    """Place in the file, such as `shapes.3`."""


@dataclass(frozen=True)
class AnnotatedPhotograph:
    """One photograph, as an annotation tool's file describes it."""

    file_names: tuple[str, ...]
    """Names or paths that the photograph may have, with `/` between folders. They may lead anywhere: compare them,
    never open them."""
    size: Size | None
    """Height and width as the file has them; None where it does not say."""
    regions: tuple[Region, ...]
    """In the order in which they are drawn: later ones lie over earlier ones."""
    where: str
    """The file."""

    def draw(self, label_set: Classes, size: Size) -> "DrawnLabel":
        """Draw the regions over each other, in their order, into a label of the file's size.

        Args:
            size: height and width of the label where the file does not say it.

        Raises:
            DatasetError: the label would be too large, a name is unknown, or a region does not fit; one line names
                the first three problems.
        """
        size = self.size or size
        if size[0] * size[1] > MAX_PIXELS:
            raise DatasetError(f"{self.where}: {self.file_names[0]}: more than {MAX_PIXELS // 10**6} megapixels")
        ids = ids_by_name(label_set)
        label, problems, doubled = np.zeros(size, np.uint8), list[str](), 0
        for region in self.regions:
            try:
                part = region.shape.part(size)
                label[part.rows, part.columns][part.inside] = ids[region.name]
                doubled += part.doubled
            except KeyError:
                problems.append(f"{region.key}: {region.name!r} is no class of {label_set.name}")
            except ValueError as error:
                problems.append(f"{region.key} ({region.name}): {error}")
        if problems:
            more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise DatasetError(f"{self.where}: {self.file_names[0]}: {'; '.join(problems[:3])}{more}")
        return DrawnLabel(label, doubled)


class DrawnLabel(NamedTuple):
    """The label map of an annotated photograph."""

    label: np.ndarray
    """H x W uint8 ids; pixels of no region are background."""
    doubled: int
    """Number of pixels that the outline of some region goes round twice."""


def ids_by_name(label_set: Classes) -> Mapping[str, int]:
    """Name of a region -> id: the classes, the background by LabelMe's name, and ignored pixels."""
    return dict.fromkeys(IGNORED_NAMES, IGNORE) | {BACKGROUND_NAME: 0} | {n: i for i, n in enumerate(label_set.names)}


def clip(low: Sequence[float], high: Sequence[float], size: Size, *, outside: float = OUTSIDE) -> tuple[slice, slice]:
    """Rows and columns of a picture that a box (x, y) to (x, y) of pixel corners touches.

    Args:
        outside: how far the box may reach beyond the picture, as a share of its longer side.

    Raises:
        ValueError: it touches no pixel, or reaches further.
    """
    left, top, right, bottom = *low, *high
    height, width = size
    slack = outside * max(size)
    if left < -slack or top < -slack or right > width + slack or bottom > height + slack:
        raise ValueError(
            f"from ({left:.6g}, {top:.6g}) to ({right:.6g}, {bottom:.6g}), outside the picture of {width} x {height}"
        )
    rows = slice(max(0, int(np.floor(top))), min(height, int(np.ceil(bottom))))
    columns = slice(max(0, int(np.floor(left))), min(width, int(np.ceil(right))))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        raise ValueError("covers no pixel of the picture")
    return rows, columns
