"""A model's file or name as a trained model: PyTorch weights, or an exported graph."""

from dataclasses import replace
from pathlib import Path

from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import format_of
from faceparse.core.model.trained import TrainedModel
from faceparse.core.model.weights import read_checkpoint
from faceparse.core.names.find import find_model


def load_file(source: str | Path) -> TrainedModel:
    """Any model by its name, but for those of MLflow's registry.

    Raises:
        CheckpointError: there is no such model, it is damaged, or cannot be fetched.
        OutputError: the cache cannot be written.
    """
    place = find_model(source)
    return replace(read_model(place.path), address=place.address)


def read_model(path: Path) -> TrainedModel:
    """
    Raises:
        CheckpointError: there is no such file, or it is damaged.
    """
    known = format_of(path)
    return read_checkpoint(path) if known is None or known.holds_weights else read_exported(path, known)
