"""Patterns that users type for files, and lists of files and names as messages show them."""

from collections.abc import Sequence
from pathlib import Path


def any_case(pattern: str) -> str:
    """Return a pattern that ignores case in the suffix: `photos/*.jpg` finds `a.JPG`, too, which some cameras write."""
    before, dot, suffix = pattern.rpartition(".")
    if not suffix.isalnum():
        return pattern
    return before + dot + "".join(f"[{c.lower()}{c.upper()}]" if dot and c.isalpha() else c for c in suffix)


def some(files: Sequence[Path]) -> str:
    """Phrase for a list of files: how many, and the names of the first five, as in `2 others: a.txt, b.txt`."""
    return f"{len(files)} other{'s' * (len(files) != 1)}: {some_names([path.name for path in files])}"


def some_names(names: Sequence[str]) -> str:
    """The first five of some names, and how many more there are: `a, b, c, d, e and 2 more`."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
