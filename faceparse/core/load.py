"""Loads any trained model by its name: a shipped one, a file, a bundle, one on the hub or the web, a registered one."""

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

from faceparse.core.export.bundle import read_bundle
from faceparse.core.export.read import load_file
from faceparse.core.names.model_file import SCHEME
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.settings import load_settings


def load_model_from(source: str | Path = DEFAULT, *, trust: bool = False) -> TrainedModel:
    """Load a trained model by its name.

        load_model_from("runs/faces/best.pth")

    Args:
        source: the name of a shipped model; a path; hf:ORG/NAME or hf:ORG/NAME@REVISION; https://HOST/FILE#sha256=HEX;
            models:/NAME/VERSION or models:/NAME@ALIAS of MLflow's registry.
        trust: whether a TorchScript file or a .pt2 program may be loaded, which could run code.

    Raises:
        CheckpointError: there is no model, it is damaged, not trusted, or it cannot be fetched.
        TrackingError: MLflow cannot be reached.
        OutputError: the cache of downloads cannot be written.
    """
    return _registered(str(source)) if str(source).startswith(SCHEME) else load_file(source, trust=trust)


def _registered(source: str) -> TrainedModel:
    from faceparse.core.runs.database import tracking_uri
    from faceparse.core.runs.registry import download  # MLflow takes seconds to import

    copy = _Copy()
    uri, bundle = download(source, tracking_uri(load_settings().tracking), copy.folder)
    return replace(read_bundle(bundle, where=uri, fix="export and register it again"), address=uri, copy=copy)


class _Copy:
    """A temporary folder. It is removed when this object is no longer used, or when the process ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faceparse-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
