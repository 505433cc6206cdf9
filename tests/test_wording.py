"""The words of the code: every docstring says at once what the thing is or does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import faceparse

ROOT = Path(faceparse.__file__).parent.parent
CODE = [path for folder in ("faceparse", "benchmarks", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]

HARD = {
    r"^Of ": "begin with the noun: `Seconds of the last try`, not `Of the last try: seconds`",
    r"^What ": "name it: `The size that ...`, or begin with a verb",
    r"^(Raises|Args|Returns):": "begin with what it returns or does",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bless (a|an|the|one)\b": "without",
    r"\b(thereof|whereof|wherein|thereby|herein)\b": "say it in plain words",
}
"""Patterns that make readers stop, and what to write."""


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring, also those under attributes."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield statement.lineno, value.value.strip()


def test_docstrings_begin_with_what_the_thing_is_or_does() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0][:60]!r}: {instead}"
        for path in CODE
        for line, text in docstrings(path)
        for pattern, instead in HARD.items()
        if re.search(pattern, text)
    ]
    assert not found, "\n".join(found)


def test_docstrings_are_looked_for_where_they_are() -> None:
    found = dict(docstrings(Path(__file__)))
    assert "Patterns that make readers stop, and what to write." in found.values()
    assert len([text for path in CODE for _, text in docstrings(path)]) > 1000
