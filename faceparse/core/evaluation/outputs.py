"""An evaluation's folder: put in place as a whole, so that files of two evaluations never lie together."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from faceparse.core.errors import OutputError
from faceparse.core.evaluation.compare import Comparison
from faceparse.core.evaluation.report import comparison_page, evaluation_page
from faceparse.core.evaluation.serial import comparison_dict, evaluation_dict, images_csv
from faceparse.core.evaluation.summary import Evaluation
from faceparse.core.files import cannot_write, encode_jpeg, make_folder

Files = dict[str, bytes]
"""Path within the folder -> content."""

_MARKS = ("scores.json", "comparison.json")
"""One of these lies in every folder that was written here."""
_OURS = (*_MARKS, "images.csv", "report.html", "comparison.html", "worst")
_TEMPORARY = ".eval-"


def evaluation_files(evaluation: Evaluation) -> Files:
    pictures = {
        f"worst/{rank:02d}-{one.id.replace('/', '_')}-{kind}.jpg": encode_jpeg(picture)
        for rank, one in enumerate(evaluation.worst, 1)
        for kind, picture in (("truth", one.truth), ("prediction", one.prediction))
    }
    return {
        "scores.json": _json(evaluation_dict(evaluation)),
        "images.csv": images_csv(evaluation).encode(),
        "report.html": evaluation_page(evaluation).encode(),
        **pictures,
    }


def comparison_files(comparison: Comparison) -> Files:
    return {
        "comparison.json": _json(comparison_dict(comparison)),
        "comparison.html": comparison_page(comparison).encode(),
    }


def prepare_folder(folder: Path) -> None:
    """Before long work is spent on filling it.

    Raises:
        OutputError: it cannot be written, or holds what no evaluation wrote.
    """
    if folder.is_dir():
        names = [path.name for path in folder.iterdir() if not path.name.startswith(_TEMPORARY)]
        if names and not set(names) & set(_MARKS):
            raise OutputError(f"{folder}: holds other files ({min(names)}, ...); choose another --output")
    make_folder(folder)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all, then put all in place of what an evaluation before left.

    Raises:
        OutputError: it cannot be written; what was there is left as it was.
    """
    try:
        for left in folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as temporary:
            for name, content in files.items():
                path = Path(temporary, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            for name in _OURS:
                _remove(folder / name)
            for new in Path(temporary).iterdir():
                new.rename(folder / new.name)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
