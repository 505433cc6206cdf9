"""Any model's name -> its file: a shipped name, a path, a bundle, hf:ORG/NAME, https://...#sha256=..."""

import difflib
from pathlib import Path

from faceparse.core.errors import CheckpointError
from faceparse.core.files.content import must_be_a_model
from faceparse.core.names.hub import fetch_bundle
from faceparse.core.names.model_file import HUB, SCHEME, SUFFIXES, WEB, ModelFile
from faceparse.core.names.shipped import find_shipped, shipped_models
from faceparse.core.names.web import fetch_file
from faceparse.core.runtime.checksums import MODEL, check_sums, is_bundle, listed_files
from faceparse.core.text.paths import broken_link, path_problem


def names_model(text: str) -> bool:
    """Whether a word is a model's name, by its form, and no photograph's, video's or folder's."""
    if path_problem(text):
        return False
    schemes = (SCHEME, HUB, *WEB)
    return text.startswith(schemes) or text.endswith(SUFFIXES) or text in shipped_models() or _lists_model(Path(text))


def _lists_model(folder: Path) -> bool:
    """Whether it is a bundle, and no folder of photographs with checksums of their own."""
    names = listed_files(folder) if is_bundle(folder) else {}
    return any(name.startswith(MODEL) and name.endswith(SUFFIXES) for name in names)


def find_model(source: str | Path) -> ModelFile:
    """The file of a model that is none of MLflow's registry, fetched where it lies elsewhere.

    A word that is a shipped model's name is that model: a file or folder of the same name is written `./NAME`, or
    given as a `Path`.

    Raises:
        CheckpointError: there is no such model, it is damaged, or cannot be fetched.
        OutputError: the cache cannot be written.
    """
    text = str(source)
    if text.startswith(SCHEME):
        raise CheckpointError(f"{text}: a registered model has no PyTorch weights; give the checkpoint that it is of")
    if text.startswith(HUB):
        return fetch_bundle(text)
    if text.startswith(WEB):
        return fetch_file(text)
    if isinstance(source, str) and source in shipped_models():
        return find_shipped(source)
    if problem := path_problem(source):
        raise CheckpointError(f"model: {problem}")
    return ModelFile(_find_file(Path(source)))


def _find_file(path: Path) -> Path:
    if is_bundle(path):
        return check_sums(path)
    if path.name.startswith(MODEL) and is_bundle(path.parent):  # its checksum lies beside it
        return check_sums(path.parent)
    if not path.exists():
        if link := broken_link(path):
            raise CheckpointError(f"{link}; fix the link")
        raise CheckpointError(f"{path}: no such checkpoint file{_nearest(path)}")
    if path.is_file():
        must_be_a_model(path, str(path))
    return path


def _nearest(path: Path) -> str:
    """`; did you mean 'best.pth' or 'last.pth'?`, of the shipped models and those in the folder."""
    there = path.parent.iterdir() if path.parent.is_dir() else []
    known = {one.name: str(one) for one in there if one.suffix in SUFFIXES or is_bundle(one)}
    known |= {name: name for name in shipped_models()}
    close = difflib.get_close_matches(path.name, known, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(known[name]) for name in close)}?" if close else ""
