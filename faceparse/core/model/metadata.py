"""What an exported file says of its model, whatever its format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceparse.core.errors import CheckpointError, FaceparseError
from faceparse.core.face_geometry import read_geometry
from faceparse.core.labels import label_set_from_dict
from faceparse.core.settings import settings_from_dict


def read_fields(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The fields of `TrainedModel` that `to_metadata` wrote.

    Raises:
        CheckpointError: `faceparse export` did not write them, or an older or newer one did.
    """
    if "faceparse" not in metadata:
        raise CheckpointError(f"{path}: was not written by this 'faceparse export'; export the checkpoint again")
    try:
        return {
            "settings": settings_from_dict(json.loads(metadata["settings"])),
            "label_set": label_set_from_dict(json.loads(metadata["label_set"]), str(path)),
            "epoch": json.loads(metadata["epoch"]),
            "scores": json.loads(metadata["scores"]),
            "geometry": read_geometry(json.loads(metadata.get("geometry", "null"))),
            "own_licence": metadata.get("licence"),
        }
    except KeyError as error:
        raise CheckpointError(f"{path}: its metadata lacks {error}; export the checkpoint again") from None
    except (TypeError, ValueError, FaceparseError) as error:
        raise CheckpointError(f"{path}: its metadata is of another faceparse or damaged ({error})") from None
