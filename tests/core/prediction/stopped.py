"""Photographs in folders within folders, and a command that is stopped among them."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from faceparse.core.machine.parallel import Track


def copy_album(faces: Path) -> Path:
    """Copy sixteen photographs to `album`, half of them into a folder within, and return that folder."""
    for n, path in enumerate(sorted((faces / "images").iterdir())):
        target = Path("album", "trip" if n % 2 else ".", path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return Path("album")


def stopping(stop: int | None) -> Track:
    """Progress that ends the work after so many photographs, as Ctrl-C does; None: never."""

    def track(items: Iterable[Any], total: int | None, what: str) -> Iterator[Any]:
        for done, item in enumerate(items):
            if done == stop:
                raise KeyboardInterrupt
            yield item

    return track
