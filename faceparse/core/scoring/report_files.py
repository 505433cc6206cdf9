"""Write an evaluation's folder. It is replaced as a whole, so that files of two evaluations never mix."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from faceparse.core.errors import OutputError
from faceparse.core.files.leftovers import new_folder, remove_leftovers
from faceparse.core.files.writing import cannot_write, make_folder, write_folder_with
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.scoring.comparison import Comparison
from faceparse.core.scoring.plain_data import comparison_dict, evaluation_dict, images_csv
from faceparse.core.scoring.report import comparison_page, evaluation_page
from faceparse.core.scoring.summary import Evaluation

Files = dict[str, bytes]
"""Path within the folder -> content."""

_MARKS = ("scores.json", "comparison.json")
"""One of these is in every folder that an evaluation wrote."""
_OURS = (*_MARKS, "report.html", "comparison.html", "worst", "images.csv")
_TEMPORARY = (".eval-", ".faceparse-")


def evaluation_files(evaluation: Evaluation) -> Files:
    """Files of one evaluation: scores, table of images, page, pictures of the worst images."""
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
    """Files of a comparison: scores and page."""
    return {
        "comparison.json": _json(comparison_dict(comparison)),
        "comparison.html": comparison_page(comparison).encode(),
    }


def prepare_folder(folder: Path) -> None:
    """Check and create a folder, before the long work of filling it.

    Raises:
        OutputError: the folder cannot be written, or holds files that no evaluation wrote.
    """
    if folder.is_dir():
        names = [path.name for path in folder.iterdir() if not path.name.startswith(_TEMPORARY)]
        if names and not set(names) & (set(_OURS) - {"worst"}):
            raise OutputError(f"{folder}: holds other files ({min(names)}, ...); choose another --output")
    make_folder(folder)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files into a new folder, then replace the old one by it. Other files in the old folder are kept.

    Whatever ends the process, the report is the old one or the new one.

    Raises:
        OutputError: the folder cannot be written; the old files stay as they were.
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
                _keep(other, new / other.name)

    here = Path.cwd().is_relative_to(folder.resolve())  # the working folder itself must stay
    if here:
        _write_into(folder, fill)
    else:
        write_folder_with(folder, fill)


def _keep(other: Path, copy: Path) -> None:
    """Copy a file or a folder of the user's. Links stay links. Pipes and devices are left out: they could never end."""
    if other.is_symlink():
        copy.symlink_to(other.readlink())
    elif other.is_dir():
        copy.mkdir()
        for one in other.iterdir():
            _keep(one, copy / one.name)
    elif other.is_file():
        shutil.copy2(other, copy)


def _write_into(folder: Path, fill: Callable[[Path], None]) -> None:
    """Replace the files in a folder that must stay, as safely as possible.

    The files that make a report look complete go first and come last.
    """
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
