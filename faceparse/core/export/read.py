"""Load a model by its file or name: PyTorch weights, an ensemble of them, or an exported graph."""

from dataclasses import replace
from pathlib import Path

from faceparse.core.errors import CheckpointError
from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import format_of
from faceparse.core.names.find import find_model
from faceparse.core.names.model_file import ENSEMBLE_FILE
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.ensemble_file import read_ensemble
from faceparse.core.parser.trained import TrainedModel


def load_file(source: str | Path, *, trust: bool = False) -> TrainedModel:
    """Load any model by its name, except those of MLflow's registry.

        model = load_file("celebamask-hq-light")

    Args:
        trust: whether to load a file that could run code.

    Raises:
        CheckpointError: there is no such model, it is damaged, not trusted, or cannot be fetched.
        OutputError: the cache cannot be written.
    """
    file = find_model(source)
    return replace(read_model(file.path, trust=trust), address=file.address)


def read_model(path: Path, *, trust: bool = False) -> TrainedModel:
    """Load a model from its file.

    Raises:
        CheckpointError: there is no such file, it is damaged or not trusted.
    """
    if path.name == ENSEMBLE_FILE:
        return read_ensemble(path)
    known = format_of(path)
    if known is not None and known.runs_code and not trust:
        raise CheckpointError(
            f"{path}: a {path.suffix} file can run any code when it is loaded, so it is not; take the .onnx or "
            ".safetensors file, or say --trust (trust=True in Python) if you know who made this one"
        )
    return read_checkpoint(path) if known is None or known.holds_weights else read_exported(path, known)
