"""Finds photographs that are in two splits: byte for byte, or re-encoded, resized or brightened."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from faceparse.core.checking.near_copies import NearCopies, equal_thumbnails
from faceparse.core.files.packed import Stored


class Picture(NamedTuple):
    """A photograph of one split, as far as it is needed to find copies."""

    split: str
    path: Stored
    digest: str | None
    """Hash of the file. None where the photograph could not be read."""
    thumbnail: np.ndarray | None
    """Grey, 32 x 32 uint8. None where the photograph could not be read."""


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
    homes: dict[str, dict[str, Stored]] = {}
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
    """Pairs of positions: equal thumbnails, and pictures in two splits that are copies, altered or not."""
    thumbnails = {i: picture.thumbnail for i, picture in enumerate(pictures) if picture.thumbnail is not None}
    if not thumbnails:
        return
    positions = list(thumbnails)
    equal = [[positions[i] for i in same] for same in equal_thumbnails(np.stack(list(thumbnails.values())))]
    for first, *others in equal:
        yield from ((first, other) for other in others)
    near = NearCopies(np.stack([thumbnails[same[0]] for same in equal]))
    homes = [{pictures[i].split for i in same} for same in equal]
    only = np.array([next(iter(splits)) if len(splits) == 1 else "" for splits in homes])
    for one in near.accompanied():
        elsewhere = (only != only[one]) | (only == "")
        for other in near.of(one, elsewhere)[0]:
            yield equal[one][0], equal[other][0]
