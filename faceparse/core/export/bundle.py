"""A bundle: a folder with an exported model and all that one needs to know of it.

model.onnx, model.pt2, ...         the network; carries its own labels and preprocessing, too
labels.toml settings.toml         what the ids mean; all settings of the training run
preprocessing.json                what turns a photograph into the input
README.md                         model card: what it is, how to run it without faceparse, data, scores, licences
SHA256SUMS                        of every other file, as `sha256sum --check` reads it
"""

import hashlib
import json
from pathlib import Path

import tomli_w

from faceparse.core.errors import CheckpointError, DatasetError
from faceparse.core.evaluation.scores import Scores
from faceparse.core.export.card import model_card
from faceparse.core.export.exported import ExportedModel, read_exported, to_metadata
from faceparse.core.export.formats import format_of
from faceparse.core.files import read_bytes, write_atomic
from faceparse.core.settings import to_toml

MODEL = "model"
SUMS = "SHA256SUMS"

_PREPROCESSING = ("kind", "input_size", "channel_order", "mean", "std", "preprocessing")


def is_bundle(folder: Path) -> bool:
    return (folder / SUMS).is_file()


def fill_bundle(folder: Path, model: ExportedModel, format: str, scores: Scores | None, scored_on: str | None) -> None:
    """Add everything else to a folder that holds the model's file.

    Args:
        scores: of this file, on the dataset's split `scored_on`.
    """
    metadata = to_metadata(model, model.kind)
    steps = {key: _as_json(metadata[key]) for key in _PREPROCESSING}
    (file,) = folder.glob(f"{MODEL}*")
    texts = {
        "labels.toml": tomli_w.dumps(model.label_set.to_toml()),
        "settings.toml": to_toml(model.settings),
        "preprocessing.json": json.dumps(steps, indent=2) + "\n",
        "README.md": model_card(model, file.name, format, scores, scored_on),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    sums = [f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    write_atomic(folder / SUMS, "".join(sums).encode())


def read_bundle(folder: Path) -> ExportedModel:
    """
    Raises:
        CheckpointError: a file is missing or is not the one that was written.
    """
    model: Path | None = None
    for line in read_bytes(folder / SUMS).decode("utf-8", "replace").splitlines():
        expected, _, name = line.partition("  ")
        path = folder / Path(name).name
        try:
            found = _sha256(path)
        except DatasetError:
            raise CheckpointError(f"{path}: is missing from the bundle; copy it again") from None
        if found != expected:
            raise CheckpointError(f"{path}: was changed since it was exported (SHA-256 differs); copy the bundle again")
        if path.name.startswith(MODEL):
            model = path
    known = format_of(model) if model else None
    if model is None or known is None:
        raise CheckpointError(f"{folder / SUMS}: names no model; export the bundle again")
    return read_exported(model, known)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from None


def _as_json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
