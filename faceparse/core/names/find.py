"""Find a model's file by any name: shipped name, path, bundle, ensemble, hf:ORG/NAME, https://...#sha256=..."""

import difflib
from pathlib import Path

from faceparse.core.errors import CheckpointError
from faceparse.core.files.content import must_be_a_model
from faceparse.core.names.hub import fetch_bundle
from faceparse.core.names.model_file import BUNDLE_ENDING, ENSEMBLE_FILE, HUB, SCHEME, SUFFIXES, WEB, ModelFile
from faceparse.core.names.shipped import find_shipped, shipped_models
from faceparse.core.names.web import fetch_file
from faceparse.core.runtime.checksums import MODEL, check_sums, is_bundle, listed_files
from faceparse.core.text.paths import broken_link, path_problem


def names_model(text: str) -> bool:
    """Whether a word has the form of a model's name, and is not a photograph, video or folder."""
    if path_problem(text):
        return False
    schemes = (SCHEME, HUB, *WEB)
    if text.startswith(schemes) or text.endswith((*SUFFIXES, BUNDLE_ENDING)) or text in shipped_models():
        return True
    return _lists_model(Path(text)) or (Path(text) / ENSEMBLE_FILE).is_file()


def _lists_model(folder: Path) -> bool:
    """Whether the folder is a bundle, and not a folder of photographs with checksums of their own."""
    names = listed_files(folder) if is_bundle(folder) else {}
    return any(name.startswith(MODEL) and name.endswith(SUFFIXES) for name in names)


def find_model(source: str | Path) -> ModelFile:
    """Find a model's file, and download it where needed. Models of MLflow's registry are not found here.

        path = find_model("celebamask-hq-light").path

    A shipped model's name always means that model. For a file or folder of the same name, write `./NAME` or pass a
    `Path`.

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
    if is_bundle(path) or (path.is_dir() and path.suffix == BUNDLE_ENDING):
        return check_sums(path)
    if (path / ENSEMBLE_FILE).is_file():
        return path / ENSEMBLE_FILE
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
    """Similar names, as `; did you mean 'best.pth' or 'last.pth'?`: shipped models and models in the folder."""
    there = path.parent.iterdir() if path.parent.is_dir() else []
    known = {one.name: str(one) for one in there if one.suffix in SUFFIXES or is_bundle(one)}
    known |= {name: name for name in shipped_models()}
    close = difflib.get_close_matches(path.name, known, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(known[name]) for name in close)}?" if close else ""
