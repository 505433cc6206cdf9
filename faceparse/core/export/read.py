"""A model's file as a trained model: PyTorch weights, or an exported graph."""

from pathlib import Path

from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import format_of
from faceparse.core.model.trained import TrainedModel
from faceparse.core.model.weights import read_checkpoint


def read_model(path: Path) -> TrainedModel:
    """
    Raises:
        CheckpointError: there is no such file, or it is damaged.
    """
    known = format_of(path)
    return read_checkpoint(path) if known is None or known.holds_weights else read_exported(path, known)
