"""The user's cache folder: downloaded models, and the notices that were shown on this machine."""

from pathlib import Path


def cache_folder() -> Path:
    """The folder `~/.cache/faceparse`, or the one that the system or `XDG_CACHE_HOME` sets. It may not exist yet."""
    import pooch  # here: the import would take half of a command's start

    return Path(pooch.os_cache("faceparse"))
