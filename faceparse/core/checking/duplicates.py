"""Finds photographs that are in two splits: byte for byte, or re-encoded, resized or brightened.

Grey thumbnails are compared. The 8 x 8 means of two copies correlate, whatever their brightness and contrast. One
matrix product compares a block of one split with a block of another. The means of aligned faces of two people may
correlate as well. So a candidate counts only if the detail that the means leave out agrees, too.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SIDE, CELLS = 32, 8
COARSE, DETAIL = 0.96, 0.97
"""Smallest correlation of two copies' means, and of their detail. Measured on 64 photographs (FASSEG): copies reach at
least 0.996 and 0.992, two shots of one man 0.986 and 0.954, other pairs at most 0.97 and 0.89."""
MIN_CONTRAST = 1.0
"""Standard deviation in grey levels below which there is nothing to compare."""
BLOCK = 2048
"""Thumbnails that are compared at a time."""


class Picture(NamedTuple):
    """A photograph of one split, as far as it is needed to find copies."""

    split: str
    path: Path
    digest: str | None
    """Hash of the file. None where the photograph could not be read."""
    thumbnail: np.ndarray | None
    """Grey, 32 x 32 uint8. None where the photograph could not be read."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Grey thumbnail, 32 x 32 uint8, of an H x W x 3 uint8 RGB image."""
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def shared_images(pictures: Sequence[Picture]) -> list[str]:
    """One line for each photograph that several splits have; it names the first copy in each split."""
    contents = [picture.digest or f"unread {picture.path}" for picture in pictures]
    parent = {content: content for content in contents}

    def root(content: str) -> str:
        while parent[content] != content:
            content = parent[content] = parent[parent[content]]
        return content

    for one, other in _copies(pictures):
        parent[root(contents[other])] = root(contents[one])
    homes: dict[str, dict[str, Path]] = {}
    altered = {root(content) for content in parent if root(content) != content}
    for picture, content in zip(pictures, contents, strict=True):
        homes.setdefault(root(content), {}).setdefault(picture.split, picture.path)
    return [
        f"{', '.join(map(str, dict.fromkeys(where.values())))}: {'nearly ' * (group in altered)}the same image in "
        f"{' and '.join(where)}; scores would be inflated"
        for group, where in homes.items()
        if len(where) > 1
    ]


def _copies(pictures: Sequence[Picture]) -> Iterator[tuple[int, int]]:
    """Pairs of positions: pictures in two splits that are copies, altered or not."""
    seen: dict[tuple[str, str | None], int] = {}
    for position, picture in enumerate(pictures):
        if picture.thumbnail is not None:
            seen.setdefault((picture.split, picture.digest), position)
    positions = np.array(list(seen.values()), int)
    if not len(positions):
        return
    thumbnails = np.stack([pictures[i].thumbnail for i in positions])
    features = [_features(block) for block in np.split(thumbnails, range(BLOCK, len(thumbnails), BLOCK))]
    coarse, detail = (np.concatenate(parts) for parts in zip(*features, strict=True))
    del features
    splits = np.array([pictures[i].split for i in positions])
    for one, other in combinations(dict.fromkeys(splits.tolist()), 2):
        for a, b in _similar(coarse, detail, np.flatnonzero(splits == one), np.flatnonzero(splits == other)):
            yield int(positions[a]), int(positions[b])


def _features(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 8 x 8 means (N x 64) of N x 32 x 32 and the rest (N x 1024): unit vectors, float32."""
    grey = thumbnails.astype(np.float32)
    size = SIDE // CELLS
    cells = grey.reshape(-1, CELLS, size, CELLS, size)
    means = cells.mean(axis=(2, 4), keepdims=True)
    detail = (cells - means).reshape(len(grey), -1)
    coarse = means.reshape(len(grey), -1)
    return _unit(coarse - coarse.mean(axis=1, keepdims=True)), _unit(detail)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1; to length 0, which correlates with nothing, where there is no contrast."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = length < MIN_CONTRAST * np.sqrt(vectors.shape[1])
    return np.where(flat, 0, vectors / np.where(flat, 1, length)).astype(np.float32)


def _similar(coarse: np.ndarray, detail: np.ndarray, some: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs (one of `some`, one of `others`) that are copies. Blocks are compared, so that memory is bounded."""
    for a in np.split(some, range(BLOCK, len(some), BLOCK)):
        for b in np.split(others, range(BLOCK, len(others), BLOCK)):
            candidates = np.argwhere(coarse[a] @ coarse[b].T >= COARSE)
            for chunk in np.split(candidates, range(BLOCK, len(candidates), BLOCK)):
                one, other = a[chunk[:, 0]], b[chunk[:, 1]]
                alike = np.einsum("ij,ij->i", detail[one], detail[other]) >= DETAIL
                yield from np.stack([one, other], axis=1)[alike]
