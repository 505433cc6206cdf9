"""The options and the model that outputs were made with: the same for all photographs of a folder."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from faceparse import __version__
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.runtime.checksums import sha256

if TYPE_CHECKING:
    from faceparse.core.parser.trained import TrainedModel

Origin = Mapping[str, str]
"""Name of an option or of a property -> its value."""


def origin_of(model: "TrainedModel") -> dict[str, str]:
    """The model's checksum, and how its classes were mapped.

    Raises:
        DatasetError: the model's file cannot be read.
    """
    from faceparse.core.parser.mapped import MappedModel  # with PyTorch, which the ledger does without

    mapping = {"mapping": digest(model.mapping.groups)} if isinstance(model, MappedModel) else {}
    return {"faceparse": __version__, "model": sha256(model.path)} | mapping


def describe_label_set(label_set: LabelSet) -> str:
    """Name of a label set, and a checksum of its classes and colours."""
    return f"{label_set.name} ({digest(label_set.to_toml())[:12]})"


def digest(content: object) -> str:
    """SHA-256 of what JSON can say, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def difference(before: Origin, now: Origin) -> str | None:
    """The first difference, as in `--save labels, now labels,json`. None where there is none."""
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            return f"{key} {_short(before.get(key))}, now {_short(now.get(key))}"
    return None


def _short(value: str | None) -> str:
    return "(not given)" if value is None else value if len(value) <= 60 else f"{value[:12]}..."
