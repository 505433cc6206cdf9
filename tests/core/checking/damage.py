"""Datasets made worse, and the problems that are found in them."""

import shutil
from pathlib import Path

from faceparse.core.checking.check import check_dataset
from faceparse.core.datasets.edges import update_edges
from faceparse.core.datasets.layout import DatasetFolder, Sample


def problems(root: Path) -> list[str]:
    found = list(check_dataset(root).problems)
    assert not any("\n" in problem for problem in found)
    return found


def first(root: Path, split: str = "train") -> Sample:
    return DatasetFolder(root).samples(split)[0]


def append(root: Path, line: str, split: str = "train") -> str:
    """Add a line to a list; returns `file:number` of it."""
    path = root / f"{split}_list.txt"
    with path.open("a") as file:
        file.write(line + "\n")
    return f"{path}:{len(path.read_text().splitlines())}"


def truncate(path: Path, share: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def add_sample(root: Path, name: str, image: bytes, split: str = "train") -> Sample:
    (root / "images" / f"{name}.jpg").write_bytes(image)
    shutil.copy(first(root).label, root / "labels" / f"{name}.png")
    append(root, f"images/{name}.jpg labels/{name}.png", split)
    update_edges(root)
    return DatasetFolder(root).samples(split)[-1]
