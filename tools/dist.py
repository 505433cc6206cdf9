"""Check what `make dist` built: `PYTHON -I tools/dist.py DIST CHECKOUT`. The wheel is installed in that Python."""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from PIL import Image

PORTRAIT = "docs/portraits/eileen-collins.jpg"
TOP = {"faceparse", "faceparse.egg-info", "CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "PKG-INFO"}
TOP |= {"README.md", "constraints.txt", "pyproject.toml", "setup.cfg"}
"""All that may stand at the top of a source distribution."""


def package_files(checkout: Path) -> set[str]:
    """Names of the package's files, relative to the checkout."""
    files = (path for path in (checkout / "faceparse").rglob("*") if path.is_file())
    return {path.relative_to(checkout).as_posix() for path in files if path.suffix != ".pyc"}


def problems(dist: Path, checkout: Path) -> list[str]:
    """One line for each file that a distribution lacks or should not hold."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        wheel_names = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        sdist_names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    own = package_files(checkout)
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    foreign = {name for name in wheel_names - own if not name.startswith(f"{info}/")}
    foreign_source = {name for name in sdist_names if name.split("/")[0] not in TOP}
    return [
        *(f"{wheel.name}: lacks {name}; add it to package-data" for name in sorted(own - wheel_names)),
        *(f"{wheel.name}: holds {name}; it is no file of the package" for name in sorted(foreign)),
        *(f"{sdist.name}: lacks {name}; add it to MANIFEST.in" for name in sorted(own - sdist_names)),
        *(f"{sdist.name}: holds {name}; remove it in MANIFEST.in" for name in sorted(foreign_source)),
    ]


def parse_portrait(portrait: Path) -> int:
    """The number of classes that the installed command finds in a portrait, far from the checkout and any settings.

    Raises:
        CalledProcessError: the command failed.
    """
    command = Path(sys.executable).parent / "faceparse"
    with tempfile.TemporaryDirectory() as folder:
        clean = {"HOME": folder, "PATH": "/usr/bin:/bin"}
        subprocess.run([command, "predict", portrait, "--output", "parsed"], cwd=folder, env=clean, check=True)
        (labels,) = Path(folder, "parsed", "labels").iterdir()
        with Image.open(labels) as picture:
            return len(picture.getcolors() or [])


def main() -> int:
    """Check the files and the installed wheel; returns the exit code."""
    dist, checkout = (Path(name).resolve() for name in sys.argv[1:])
    found = problems(dist, checkout)
    classes = parse_portrait(checkout / PORTRAIT)
    if classes < 2:
        found.append(f"{PORTRAIT}: the installed wheel finds {classes} class; parse it with the checkout and compare")
    print(*found, sep="\n", end="\n" if found else "")
    built = ", ".join(sorted(path.name for path in dist.glob("faceparse*")))
    print(f"{built}: {classes} classes in {PORTRAIT}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
