"""A bundle's program: `run.py`, and `runtime.zip` with the modules of this package that it needs."""

import ast
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import faceparse
from faceparse.core.images.decoding import MAX_PIXELS
from faceparse.core.runtime.checksums import MODULES, PROGRAM

_MAIN = "faceparse.core.runtime.program"

_RUN = f'''\
"""Parse photographs with the model in this folder: python {PROGRAM} photo.jpg

pip install "onnxruntime>=1.24" "numpy>=1.26" "opencv-python-headless>=4.11"

Python 3.11 or later and these three packages are enough. {MODULES} holds the code, which is a part of faceparse.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "{MAX_PIXELS}")  # OpenCV reads it before its first picture
sys.path.insert(0, str(HERE / "{MODULES}"))

from {_MAIN} import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(HERE, sys.argv[1:]))
'''


def program_files() -> dict[str, bytes]:
    """Content of the program's files by name. The same version of faceparse gives the same bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as modules:
        for name, source in sorted(_sources().items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            modules.writestr(entry, source)
    return {PROGRAM: _RUN.encode(), MODULES: archive.getvalue()}


def _sources() -> dict[str, bytes]:
    """Source of each module that the program imports, at any depth, by its path in the archive."""
    package = Path(faceparse.__file__).parent
    found: dict[str, bytes] = {}
    waiting = {_MAIN, "faceparse.core.telemetry"}  # the second is imported by the package itself
    while waiting:
        module = waiting.pop()
        for path in _files(package, module):
            name = path.relative_to(package.parent).as_posix()
            if name not in found:
                found[name] = path.read_bytes()
                waiting |= set() if path.name == "__init__.py" else set(_imported(found[name]))
    return found


def _files(package: Path, module: str) -> Iterator[Path]:
    """The file of a module, and those of the folders that it is in. None for a name within a module."""
    parts = module.split(".")[1:]
    file = package.joinpath(*parts).with_suffix(".py") if parts else package / "__init__.py"
    if file.is_file():
        yield file
        yield from (package.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts)))


def _imported(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faceparse."):
            yield str(node.module)
