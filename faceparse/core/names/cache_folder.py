"""The user's cache folder: downloaded models, and what this machine was told already."""

from pathlib import Path


def cache_folder() -> Path:
    """`~/.cache/faceparse`, or what the system and `XDG_CACHE_HOME` say in its place. It need not exist."""
    import pooch  # here: half of a command's start would be spent on it

    return Path(pooch.os_cache("faceparse"))
