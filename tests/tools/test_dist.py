import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.dist import problems

GOOD = ("faceparse/__init__.py", "faceparse/models/models.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (*GOOD, "faceparse/__pycache__/old.pyc", "README.md", "tests/test_cli.py"):
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "checkout"


def built(checkout: Path, wheel: tuple[str, ...], sdist: tuple[str, ...]) -> Path:
    """A folder of a wheel and a source distribution with these files."""
    dist = checkout.parent / "dist"
    dist.mkdir()
    with zipfile.ZipFile(dist / "faceparse-1.0-py3-none-any.whl", "w") as archive:
        for name in ("faceparse-1.0.dist-info/METADATA", *wheel):
            archive.writestr(name, "")
    with tarfile.open(dist / "faceparse-1.0.tar.gz", "w:gz") as archive:
        for name in sdist:
            archive.add(checkout / name, f"faceparse-1.0/{name}")
    return dist


def test_whole_distributions(checkout: Path) -> None:
    assert problems(built(checkout, GOOD, (*GOOD, "README.md")), checkout) == []


def test_what_is_missing_and_what_is_too_much(checkout: Path) -> None:
    dist = built(checkout, (GOOD[0], "keep/notes"), (GOOD[0], "tests/test_cli.py"))
    assert problems(dist, checkout) == [
        "faceparse-1.0-py3-none-any.whl: lacks faceparse/models/models.toml; add it to package-data",
        "faceparse-1.0-py3-none-any.whl: holds keep/notes; it is no file of the package",
        "faceparse-1.0.tar.gz: lacks faceparse/models/models.toml; add it to MANIFEST.in",
        "faceparse-1.0.tar.gz: holds tests/test_cli.py; remove it in MANIFEST.in",
    ]
