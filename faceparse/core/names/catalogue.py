"""List of the models on this machine: those of the package, from the hub, and from the web."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from faceparse.core.files.content import read_safetensors_metadata
from faceparse.core.labels.label_set import builtin_label_sets
from faceparse.core.names.hub import hub_cache
from faceparse.core.names.model_file import HUB
from faceparse.core.names.shipped import shipped_models
from faceparse.core.names.web import downloads
from faceparse.core.runtime.checksums import is_bundle
from faceparse.core.runtime.licences import LICENCES
from faceparse.core.text.shapes import parse_json_as


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A model on this machine."""

    name: str
    """Name that `--model` takes."""
    path: Path
    classes: int
    label_set: str
    size: int
    """Bytes of its file."""
    score: float | None
    """Mean F1, 0 to 1."""
    scored: str
    """How and on which images it was scored; empty where this is unknown."""
    licence: str | None


def list_models() -> list[Listed]:
    """List all models on this machine, shipped models first.

        for model in list_models():
            print(model.name, model.score)

    Files that cannot be read are left out: they are no models, or an error names them when they are used.
    """
    return [*_shipped(), *_from_hub(), *_from_web()]


def _shipped() -> Iterator[Listed]:
    for model in shipped_models().values():
        if model.is_here:
            yield Listed(
                name=model.name,
                path=model.path,
                classes=len(builtin_label_sets()[model.label_set]),
                label_set=model.label_set,
                size=model.path.stat().st_size,
                score=model.score,
                scored=model.protocol,
                licence=model.licence,
            )


def _from_hub() -> Iterator[Listed]:
    """Yield a model for each commit of each bundle in the cache of the hub's client."""
    for folder in sorted(hub_cache().glob("models--*--*/snapshots/*")):
        with suppress(OSError, ValueError):
            config = parse_json_as(_Config, (folder / "config.json").read_bytes())
            if config.library_name != "faceparse" or not is_bundle(folder):
                continue
            repository = folder.parents[1].name.removeprefix("models--").replace("--", "/", 1)
            path = folder / Path(config.file).name
            scores = config.scores
            yield Listed(
                name=f"{HUB}{repository}@{folder.name}",
                path=path,
                classes=len(config.id2label),
                label_set=config.label_set.name,
                size=path.stat().st_size,
                score=scores.mean_f1 if scores else None,
                scored=str(scores or ""),
                licence=config.licence,
            )


class _LabelSet(BaseModel):
    name: str


class _Scores(BaseModel):
    protocol: str
    dataset: str
    split: str
    images: int
    mean_f1: float | None

    def __str__(self) -> str:
        return f"{self.protocol} on {self.dataset} {self.split}, {self.images} images"


class _Config(BaseModel):
    """The keys that are read from a bundle's config.json, which `export/config.py` writes."""

    library_name: str
    file: str
    id2label: dict[str, str]
    label_set: _LabelSet
    scores: _Scores | None
    licence: str | None


def _from_web() -> Iterator[Listed]:
    for path in sorted(downloads().glob("*-*")):
        with suppress(Exception):  # the readers raise errors of many kinds
            metadata = _metadata(path)
            label_set, scores = json.loads(metadata["label_set"]), json.loads(metadata["scores"])
            score = scores.get("f1_mean")
            yield Listed(
                name=str(path),
                path=path,
                classes=len(label_set["classes"]),
                label_set=label_set["name"],
                size=path.stat().st_size,
                score=score,
                scored="" if score is None else "eagrnet on val",
                licence=metadata.get("licence") or LICENCES.get(label_set["name"]),
            )


def _metadata(path: Path) -> Mapping[str, str]:
    if path.suffix == ".safetensors":
        return read_safetensors_metadata(path)
    from faceparse.core.runtime.onnx_model import read_metadata  # a slow import

    return read_metadata(path)
