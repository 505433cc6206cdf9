"""Writes groups of near-duplicates as one HTML page that needs no other file."""

from collections.abc import Iterable
from contextlib import suppress

from faceparse.core.checking.dedupe import Duplicates, Fingerprint
from faceparse.core.errors import FaceparseError
from faceparse.core.images.photograph import Photograph
from faceparse.core.images.read_photograph import decode_image
from faceparse.core.pages.html import data_uri, render

GROUPS, MEMBERS = 60, 6
"""Groups in the page, and photographs of each, so that a browser can show it."""
PICTURE_SIDE = 160
"""Longer side of the pictures in the page, pixels."""


def dedupe_page(found: Duplicates, photographs: Iterable[Photograph], title: str) -> str:
    """HTML page with the first groups, the photograph to keep first in each. The photographs are read again."""
    groups = [group[:MEMBERS] for group in found.groups[:GROUPS]]
    pictures = _pictures(photographs, {one.where for group in groups for one, _ in group})
    return render(
        "dedupe.html",
        title=_shown(title),
        verdict=f"{found.copies} near-duplicates of {len(found.groups)} among {found.photographs} photographs",
        hidden=len(found.groups) - len(groups),
        broken=[_shown(line) for line in found.broken[:GROUPS]],
        unnamed=max(0, len(found.broken) - GROUPS),
        groups=[
            {
                "size": len(whole),
                "members": [
                    {"image": pictures.get(one.where, ""), "name": _shown(one.where), "facts": _facts(one, distance)}
                    for one, distance in group
                ],
            }
            for whole, group in zip(found.groups, groups, strict=False)
        ],
    )


def _facts(one: Fingerprint, distance: float) -> str:
    height, width = one.size
    return f"{width} x {height}, {one.length} bytes, distance {distance:.4f}"


def _pictures(photographs: Iterable[Photograph], wanted: set[str]) -> dict[str, str]:
    """URIs of the photographs, by their names. One that was removed meanwhile has none."""
    pictures: dict[str, str] = {}
    for photograph in photographs:
        if photograph.where in wanted:
            with suppress(FaceparseError):
                image = decode_image(photograph.bytes(), photograph.where)
                pictures[photograph.where] = data_uri(image, PICTURE_SIDE)
    return pictures


def _shown(text: str) -> str:
    """Text that a page can hold: names of files need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
