"""The place of a model's file, and the forms of its name."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SCHEME = "models:/"
"""Beginning of the URI of a model in MLflow's registry."""
HUB = "hf:"
"""Beginning of a model on the Hugging Face hub: hf:ORG/NAME or hf:ORG/NAME@REVISION."""
WEB = ("https://", "http://")
"""Beginnings of a file on another server."""

ENSEMBLE_FILE = "ensemble.json"
"""Names the networks of an ensemble. It lies in the ensemble's folder, which is the ensemble's name."""
SUFFIXES = (".pth", ".safetensors", ".onnx", ".xml", ".torchscript", ".pt2")
"""Endings of models' files."""
BUNDLE_ENDING = ".bundle"
"""Ending that `export` and `import` give to bundles. A bundle may have any name."""
FOREIGN = (".safetensors", ".onnx")
"""Endings of models from the hub and the web. Nothing in these files can run as code."""


@dataclass(frozen=True)
class ModelFile:
    """A model's file, and the name of the model."""

    path: Path
    address: str | None = None
    """Name of the model where `path` is a copy, else None.

    A shipped model's name, hf:ORG/NAME@COMMIT, a URL with its checksum, or models:/NAME/VERSION."""


def short_name(address: str) -> str:
    """Part of a file's name that stands for the model: `face-3`, `ORG-NAME-0123abc`, `best.onnx`."""
    if address.startswith(WEB):
        return urlsplit(address).path.rpartition("/")[2]
    if address.startswith(HUB):
        repository, _, commit = address.removeprefix(HUB).partition("@")
        return f"{repository.replace('/', '-')}-{commit[:7]}"
    return address.removeprefix(SCHEME).replace("/", "-")
