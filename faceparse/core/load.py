"""Any trained model by its place: a checkpoint, a released one, an exported file, a bundle."""

from pathlib import Path

from faceparse.core.export.bundle import is_bundle, read_bundle
from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import format_of
from faceparse.core.model.trained import TrainedModel
from faceparse.core.model.weights import read_checkpoint


def load_model_from(source: Path) -> TrainedModel:
    """
    Raises:
        CheckpointError: there is no model, or it is damaged.
    """
    if is_bundle(source):
        return read_bundle(source)
    known = format_of(source)
    return read_exported(source, known) if known else read_checkpoint(source)
