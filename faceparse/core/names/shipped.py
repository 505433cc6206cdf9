"""The models that come with the package. `models.toml` in `faceparse/models/` lists the files beside it."""

import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceparse.core.errors import CheckpointError
from faceparse.core.names.cache_folder import cache_folder
from faceparse.core.names.model_file import ModelFile
from faceparse.core.runtime.checksums import sha256

FOLDER = Path(__file__).parents[2] / "models"
LIST = "models.toml"
DEFAULT = "celebamask-hq-light"
"""The model that is used where the user names none."""

LARGEST = 5_000_000
"""Most bytes of a shipped model's file: an installation may grow by this for each."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """One entry of the list."""

    name: str
    path: Path
    """Its weights, a safetensors file. The card lies beside it."""
    sha256: str
    licence: str
    """Terms in a few words."""
    notice: str
    """A sentence that is shown to users once."""
    label_set: str
    score: float | None = None
    """Mean F1 without background, 0 to 1."""
    protocol: str = ""
    """How and on which images it was scored."""
    note: str = ""

    @property
    def is_here(self) -> bool:
        """Whether this installation has its file."""
        return self.path.is_file()


def shipped_models() -> dict[str, Shipped]:
    """Name -> model, whether or not this installation has its file."""
    entries: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / LIST).read_text("utf-8"))
    return {name: Shipped(name=name, path=FOLDER / entry.pop("file"), **entry) for name, entry in entries.items()}


def find_shipped(name: str) -> ModelFile:
    """Find the file of a shipped model, and check it.

    Raises:
        CheckpointError: the file is missing from this installation, or is another one.
    """
    model = shipped_models()[name]
    if not model.is_here:
        raise CheckpointError(
            f"{name}: this installation of faceparse lacks its file, {model.path}; name another model"
        )
    if sha256(model.path) != model.sha256:
        raise CheckpointError(
            f"{name}: {model.path} is not the file that was shipped (SHA-256 differs); install faceparse again"
        )
    return ModelFile(model.path, name)


def notice_of(name: str | None) -> str | None:
    """Notice about a shipped model's terms, shown once on each machine.

    None where `name` is no shipped model, or where the notice was shown before. Where the cache cannot be written, the
    notice is shown each time.
    """
    model = shipped_models().get(name or "")
    if model is None:
        return None
    told = cache_folder() / f"told-{model.name}"
    if told.exists():
        return None
    with suppress(OSError):
        told.parent.mkdir(parents=True, exist_ok=True)
        told.touch()
    return f"{model.name}: {model.notice}"
