"""Face parsing with EAGRNet, from raw photographs to a scored and exported model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faceparse.core.telemetry import switch_off

if TYPE_CHECKING:
    from faceparse.core.api import FaceParser, Result, load
    from faceparse.core.datasets.edges import EdgesReport
    from faceparse.core.datasets.prepare_report import PrepareReport
    from faceparse.core.scoring.scores import Scores
    from faceparse.core.scoring.summary import Evaluation
    from faceparse.core.sweeps.folds import FoldsResult
    from faceparse.core.training.run import RunResult
    from faceparse.workflow import edges, evaluate, prepare, train, train_folds

__version__ = "0.1.0"
__all__ = [
    "EdgesReport",
    "Evaluation",
    "FaceParser",
    "FoldsResult",
    "PrepareReport",
    "Result",
    "RunResult",
    "Scores",
    "__version__",
    "edges",
    "evaluate",
    "load",
    "prepare",
    "train",
    "train_folds",
]

_HOMES = {
    "core.api": ("load", "FaceParser", "Result"),
    "workflow": ("prepare", "edges", "train", "train_folds", "evaluate"),
    "core.datasets.prepare_report": ("PrepareReport",),
    "core.datasets.edges": ("EdgesReport",),
    "core.training.run": ("RunResult",),
    "core.sweeps.folds": ("FoldsResult",),
    "core.scoring.summary": ("Evaluation",),
    "core.scoring.scores": ("Scores",),
}
"""Module -> names that the package offers from it."""

switch_off()  # before any other module of the package imports one of these libraries


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used: the command's help does not wait for PyTorch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names that the package offers, for completion."""
    return sorted({*globals(), *__all__})
