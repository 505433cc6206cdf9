"""How far a mask reaches beyond its classes, and how soft its edge is, as editors and inpainting need it."""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from faceparse.core.errors import SettingsError
from faceparse.core.faces.crops import Crop, PictureLabels
from faceparse.core.images.overlay import class_mask

LARGEST_PIXELS, LARGEST_PERCENT = 10_000, 1_000
_LENGTH = re.compile(r"(-?\d+(?:\.\d+)?)(%?)")


@dataclass(frozen=True)
class Length:
    """A length in pixels, or a share of a face's height."""

    amount: float = 0.0
    share: bool = False

    def __str__(self) -> str:
        return f"{self.amount * 100:g}%" if self.share else f"{self.amount:g}"

    def pixels(self, height: float) -> float:
        """The length for a face of this height in pixels."""
        return self.amount * height if self.share else self.amount


def read_length(text: str, option: str, *, negative: bool = False) -> Length:
    """Read `12` as pixels and `5%` as a share of the face's height.

    Raises:
        SettingsError: it is neither, too large, or negative where that has no meaning.
    """
    found = _LENGTH.fullmatch(text.strip())
    if not found or (not negative and float(found[1]) < 0):
        less = " or -12 or -5%, which shrinks" if negative else ""
        raise SettingsError(f"{option} {text}: write pixels such as 12, or % of the face's height such as 5%{less}")
    number, percent = float(found[1]), bool(found[2])
    most = LARGEST_PERCENT if percent else LARGEST_PIXELS
    if abs(number) > most:
        raise SettingsError(f"{option} {text}: more than {most}{'%' if percent else ' pixels'}; choose less")
    return Length(number / 100, share=True) if percent else Length(number)


@dataclass(frozen=True)
class Outline:
    """Edge of a mask: moved outwards by `grow` (inwards, if negative), then faded over the width of `feather`."""

    grow: Length = Length()
    feather: Length = Length()

    @property
    def as_labelled(self) -> bool:
        """Whether the mask ends where its classes end."""
        return not (self.grow.amount or self.feather.amount)

    def mask(self, parsed: PictureLabels, crops: Sequence[Crop], ids: Collection[int]) -> np.ndarray:
        """Mask of some classes of a picture, H x W uint8: 255 inside, 0 outside, between them where it fades.

        With lengths in pixels, all faces are one area. With shares, each face is an area of its own, with its own
        lengths; where a picture was parsed as a whole, its height is that of the face. The background, where it is one
        of the classes, has the lengths of the tallest face.
        """
        mask = class_mask(parsed.label, ids)
        if self.as_labelled:
            return mask
        alike: dict[tuple[float, float], list[int]] = {}
        heights = {crop.face + 1: crop.box[3] for crop in crops}
        heights[0] = max(heights.values(), default=float(len(mask)))
        for number, height in heights.items():
            alike.setdefault((self.grow.pixels(height), self.feather.pixels(height)), []).append(number)
        total = np.zeros_like(mask)
        for (grow, feather), owners in alike.items():
            part = mask if len(alike) == 1 else np.where(np.isin(parsed.owner, owners), mask, np.uint8(0))
            x, y, width, height = cv2.boundingRect(part)
            if not width:
                continue
            margin = math.ceil(max(grow, 0) + feather / 2) + 1
            rows = slice(max(y - margin, 0), y + height + margin)
            columns = slice(max(x - margin, 0), x + width + margin)
            there = total[rows, columns]
            np.maximum(there, moved_edge(part[rows, columns], grow, feather), out=there)
        return total


def moved_edge(mask: np.ndarray, grow: float, feather: float) -> np.ndarray:
    """A mask (H x W uint8, 0 or 255) with its edge moved outwards by `grow` pixels and faded over `feather` pixels.

    The fade is linear, half of it on each side of the edge. Distances are to the mask as it was, so the time does not
    depend on the lengths. The picture's border is no edge.
    """
    inside, outside = (
        cv2.distanceTransform(one, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for one in (mask, cv2.bitwise_not(mask))
    )
    signed = np.asarray(cv2.subtract(inside, outside), np.float32)
    signed += np.where(mask != 0, np.float32(grow - 0.5), np.float32(grow + 0.5))  # the edge runs between two pixels
    if not feather:
        return np.where(signed > 0, np.uint8(255), np.uint8(0))
    faded = 255 * (signed / np.float32(feather) + np.float32(0.5))
    return np.rint(np.clip(faded, 0, 255)).astype(np.uint8)
