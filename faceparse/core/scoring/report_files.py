"""An evaluation's folder: put in place as a whole, so that files of two evaluations never lie together."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from faceparse.core.errors import OutputError
from faceparse.core.files.leftovers import new_folder, remove_leftovers
from faceparse.core.files.writing import cannot_write, make_folder, write_folder_with
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.scoring.comparison import Comparison
from faceparse.core.scoring.report import comparison_page, evaluation_page
from faceparse.core.scoring.serial import comparison_dict, evaluation_dict, images_csv
from faceparse.core.scoring.summary import Evaluation

Files = dict[str, bytes]
"""Path within the folder -> content."""

_MARKS = ("scores.json", "comparison.json")
"""One of these lies in every folder that was written here."""
_OURS = (*_MARKS, "report.html", "comparison.html", "worst", "images.csv")
_TEMPORARY = (".eval-", ".faceparse-")


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
        if names and not set(names) & (set(_OURS) - {"worst"}):
            raise OutputError(f"{folder}: holds other files ({min(names)}, ...); choose another --output")
    make_folder(folder)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all into a folder of its own, then put that in the place of what an evaluation before left: whatever ends
    the process, the report is the old one or the new one. Other files that lie there stay.

    Raises:
        OutputError: it cannot be written; what was there is left as it was.
    """

    def fill(new: Path) -> None:
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        if here:
            return
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name not in _OURS and not other.name.startswith(_TEMPORARY):
                copy = shutil.copytree if other.is_dir() else shutil.copy2
                copy(other, new / other.name)

    here = Path.cwd().is_relative_to(folder.resolve())  # where somebody stands stays
    if here:
        _write_into(folder, fill)
    else:
        write_folder_with(folder, fill)


def _write_into(folder: Path, fill: Callable[[Path], None]) -> None:
    """As near to a replacement as can be: what makes a report look whole goes first and comes last."""
    remove_leftovers(folder)
    for left in folder.glob(".eval-*"):  # of earlier versions
        shutil.rmtree(left, ignore_errors=True)
    try:
        with new_folder(folder / "report", "tmp") as temporary:
            try:
                fill(temporary)
                for name in _OURS:
                    _remove(folder / name)
                for new in sorted(temporary.iterdir(), key=lambda one: _OURS.index(one.name), reverse=True):
                    new.rename(folder / new.name)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
