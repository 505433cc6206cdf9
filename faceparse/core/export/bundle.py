"""A bundle: a folder with an exported model and everything that a user of the model needs to know.

model.onnx, model.safetensors, ... the network; the file also carries its own labels and preprocessing
labels.toml settings.toml         what the ids mean; all settings of the training run (not of an imported network)
preprocessing.json                how a photograph becomes the input
config.json                       all of this and the scores, for hubs and other programs
README.md                         model card: what it is, how to run it without faceparse, data, scores, licences
run.py runtime.zip                beside ONNX: a program that needs ONNX Runtime, NumPy and OpenCV alone
SHA256SUMS                        checksum of every other file, as `sha256sum --check` reads it
"""

import json
from pathlib import Path

import tomli_w

from faceparse.core.errors import CheckpointError
from faceparse.core.export.card import model_card
from faceparse.core.export.config import hub_config
from faceparse.core.export.exported import ExportedModel, to_metadata
from faceparse.core.export.formats import FORMATS, format_of
from faceparse.core.export.program_files import program_files
from faceparse.core.export.read import read_model
from faceparse.core.files.writing import write_atomic
from faceparse.core.labels.label_set import read_label_set
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.runtime.checksums import COPY_AGAIN, MODEL, SUMS, check_sums, write_sums
from faceparse.core.scoring.split import Split
from faceparse.core.scoring.summary import Summary
from faceparse.core.settings import to_toml

LABELS = "labels.toml"
_PREPROCESSING = ("kind", "input_size", "sizes", "fit", "channel_order", "mean", "std", "preprocessing")


def fill_bundle(
    folder: Path, model: ExportedModel, format_name: str, summary: Summary | None, scored_on: Split | None
) -> None:
    """Add all other files to a folder that holds the model's file.

    Args:
        summary: scores of this file on `scored_on`.
    """
    metadata = to_metadata(model, model.kind, model.sizes)
    steps = {key: _as_json(metadata[key]) for key in _PREPROCESSING}
    file = folder / f"{MODEL}{FORMATS[format_name].suffix}"
    scores = summary.scores if summary else None
    config = hub_config(model, file.name, format_name, steps, scores, scored_on)
    texts = {
        LABELS: tomli_w.dumps(model.label_set.to_toml()),
        **({} if model.foreign else {"settings.toml": to_toml(model.settings)}),
        "preprocessing.json": json.dumps(steps, indent=2) + "\n",
        "config.json": json.dumps(config, indent=2) + "\n",
        "README.md": model_card(model, file.name, format_name, summary, scored_on),
    }
    files = {name: text.encode() for name, text in texts.items()}
    if FORMATS[format_name].servable:
        files |= program_files()
    for name, content in files.items():
        write_atomic(folder / name, content)
    write_sums(folder)


def read_bundle(folder: Path, *, where: str | None = None, fix: str = COPY_AGAIN, trust: bool = False) -> TrainedModel:
    """Read the model in a bundle, after a check of all its files.

    Args:
        where, fix: as in `check_sums`.
        trust: as in `read_model`.

    Raises:
        CheckpointError: a file is missing, was changed, or is not trusted.
    """
    model = check_sums(folder, where=where, fix=fix)
    if format_of(model) is None:
        raise CheckpointError(f"{where or folder}/{SUMS}: names no model; export the bundle again")
    found = read_model(model, trust=trust)
    labels = folder / LABELS
    if labels.is_file() and read_label_set(labels) != found.label_set:
        raise CheckpointError(
            f"{where or folder}/{LABELS}: has other classes than {model.name}; export the bundle again"
        )
    return found


def _as_json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
