"""Face parsing with EAGRNet, from raw photographs to a scored and exported model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceparse.core.api import FaceParser, Result, load

__version__ = "0.1.0"
__all__ = ["FaceParser", "Result", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used: the command's help does not wait for PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from faceparse.core import api

    return getattr(api, name)
