"""Masks as lengths of runs: outside, inside, outside, and so on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceparse.core.annotations.regions import Part, clip
from faceparse.core.images.warp import Size


@dataclass(frozen=True)
class RunsShape:
    """A mask in a box of the picture, by its runs."""

    lengths: np.ndarray
    """Lengths of the runs, int64; the first one is outside and may be 0."""
    size: Size
    """Height and width of the box."""
    corner: tuple[int, int] | None = None
    """First column and row of the box; None if it is the whole picture."""
    by_columns: bool = False
    """Whether runs go down the columns, as in COCO, and not along the rows."""

    def part(self, size: Size) -> Part:
        """Return the pixels of the runs inside; see `Shape`."""
        height, width = self.size
        if self.corner is None and self.size != size:
            raise ValueError(f"a mask of {width} x {height}, its picture is {size[1]} x {size[0]}")
        x, y = self.corner or (0, 0)
        if x < 0 or y < 0 or height < 1 or width < 1 or x + width > size[1] or y + height > size[0]:
            raise ValueError(
                f"a mask of {width} x {height} at ({x}, {y}), outside the picture of {size[1]} x {size[0]}"
            )
        possible = ((self.lengths >= 0) & (self.lengths <= height * width)).all()  # else their sum could overflow
        if not possible or int(self.lengths.sum()) != height * width:
            raise ValueError(f"its runs do not add up to {width} x {height} pixels; export it again")
        flat = np.repeat(np.arange(len(self.lengths)) % 2 == 1, self.lengths)
        inside = flat.reshape(width, height).T if self.by_columns else flat.reshape(height, width)
        rows, columns = clip((x, y), (x + width, y + height), size)
        return Part(rows, columns, inside)


def lengths_of(mask: np.ndarray, *, by_columns: bool = False) -> list[int]:
    """H x W bool -> the lengths of its runs, as in `RunsShape`."""
    flat = mask.ravel(order="F" if by_columns else "C")
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths: list[int] = np.diff([0, *ends.tolist(), flat.size]).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def class_lengths(label: np.ndarray) -> dict[int, np.ndarray]:
    """H x W ids -> each id's lengths of runs down the columns, int64, as in `RunsShape`. All ids in one pass."""
    flat = label.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    stops, ids = np.append(starts[1:], flat.size), flat[starts]
    found = {}
    for id_ in np.unique(ids).tolist():
        ends = np.stack([starts[ids == id_], stops[ids == id_]], axis=1).ravel()
        ends = ends if ends[-1] == flat.size else np.append(ends, flat.size)
        found[int(id_)] = np.diff(ends, prepend=0)
    return found


def box_of(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around the true pixels of an H x W bool mask, which has some."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def int_lengths(counts: Sequence[int]) -> np.ndarray:
    """Lengths that a file gives, as int64.

    Raises:
        ValueError: one is too large for any picture.
    """
    try:
        return np.array(counts, np.int64)
    except OverflowError:
        raise ValueError("a run is longer than any picture; export it again") from None
