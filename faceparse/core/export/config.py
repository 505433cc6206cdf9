"""The config.json of a bundle: what hubs and other programs look for."""

from collections.abc import Mapping
from typing import Any

from faceparse import __version__
from faceparse.core.export.exported import ExportedModel
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import Scores
from faceparse.core.scoring.split import Split
from faceparse.core.settings import to_dict

LIBRARY = "faceparse"


def hub_config(
    model: ExportedModel,
    file: str,
    format_name: str,
    preprocessing: Mapping[str, object],
    scores: Scores | None,
    scored_on: Split | None,
) -> dict[str, Any]:
    """Return the content of config.json: the file, its classes, its input, how it was trained, and its own scores.

    An imported network has its origin in place of settings.
    """
    return {
        "library_name": LIBRARY,
        "library_version": __version__,
        "file": file,
        "format": format_name,
        "licence": model.licence,
        "label_set": model.label_set.to_toml(),
        "id2label": {str(i): name for i, name in enumerate(model.label_set.names)},
        "preprocessing": dict(preprocessing),
        **({"foreign": model.foreign.model_dump()} if model.foreign else {"settings": to_dict(model.settings)}),
        "scores": None if scores is None or scored_on is None else _scores(scores, scored_on),
    }


def _scores(scores: Scores, split: Split) -> dict[str, Any]:
    return {
        "dataset": split.root.name,
        "split": split.name,
        "images": len(split.samples),
        "protocol": DEFAULT,
        "mean_f1": scores.mean_f1,
        "f1": scores.f1 | scores.merged_f1,
    }
