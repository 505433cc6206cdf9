"""Where a model lies, and the forms that its name takes."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SCHEME = "models:/"
"""What the URI of a model in MLflow's registry begins with."""
HUB = "hf:"
"""What a model on the Hugging Face hub begins with: hf:ORG/NAME or hf:ORG/NAME@REVISION."""
WEB = ("https://", "http://")
"""What a file elsewhere begins with."""

SUFFIXES = (".pth", ".safetensors", ".onnx", ".torchscript", ".pt2")
"""Of models' files."""
FOREIGN = (".safetensors", ".onnx")
"""Of those that are loaded from the hub and the web: nothing in them can be executed."""


@dataclass(frozen=True)
class ModelFile:
    """A model's file, and what the model is called."""

    path: Path
    address: str | None = None
    """What people know it by, where `path` is a copy: a shipped model's name, hf:ORG/NAME@COMMIT, a URL with its
    checksum, models:/NAME/VERSION."""


def short_name(address: str) -> str:
    """As a part of a file's name: `face-3`, `ORG-NAME-0123abc`, `best.onnx`."""
    if address.startswith(WEB):
        return urlsplit(address).path.rpartition("/")[2]
    if address.startswith(HUB):
        repository, _, commit = address.removeprefix(HUB).partition("@")
        return f"{repository.replace('/', '-')}-{commit[:7]}"
    return address.removeprefix(SCHEME).replace("/", "-")
