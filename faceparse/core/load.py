"""Any trained model by its place: a checkpoint, a released one, an exported file, a bundle, a registered model."""

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

from faceparse.core.export.bundle import read_bundle
from faceparse.core.export.read import read_model
from faceparse.core.model.trained import SCHEME, TrainedModel
from faceparse.core.serving.checksums import MODEL, is_bundle
from faceparse.core.settings import load_settings


def load_model_from(source: str | Path) -> TrainedModel:
    """
    Args:
        source: a path, or models:/NAME/VERSION or models:/NAME@ALIAS of MLflow's registry.

    Raises:
        CheckpointError: there is no model, or it is damaged.
        TrackingError: MLflow cannot be reached.
    """
    if str(source).startswith(SCHEME):
        return _registered(str(source))
    path = Path(source)
    if is_bundle(path):
        return read_bundle(path)
    if path.name.startswith(MODEL) and is_bundle(path.parent):  # its checksum lies beside it
        return read_bundle(path.parent)
    return read_model(path)


def _registered(source: str) -> TrainedModel:
    from faceparse.core.tracking.registry import download  # MLflow takes seconds to import
    from faceparse.core.tracking.store import tracking_uri

    copy = _Copy()
    uri, bundle = download(source, tracking_uri(load_settings().tracking), copy.folder)
    return replace(read_bundle(bundle, where=uri, mend="export and register it again"), registered=uri, copy=copy)


class _Copy:
    """A temporary folder, which is removed once nobody holds this any more, or when the process ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faceparse-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
