"""Patterns and lists of files, as they are typed and shown."""

from collections.abc import Sequence
from pathlib import Path


def any_case(pattern: str) -> str:
    """`photos/*.jpg` -> a pattern that finds `a.JPG`, too: cameras and phones differ."""
    before, dot, suffix = pattern.rpartition(".")
    if not suffix.isalnum():
        return pattern
    return before + dot + "".join(f"[{c.lower()}{c.upper()}]" if dot and c.isalpha() else c for c in suffix)


def some(files: Sequence[Path]) -> str:
    """`3 others: a.txt, b.txt and 1 more`: how many, and the first of them by name."""
    names = ", ".join(path.name for path in files[:5])
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return f"{len(files)} other{'s' * (len(files) != 1)}: {names}{more}"
