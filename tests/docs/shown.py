"""What the documentation shows: the fenced blocks of README.md and docs/, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
"""Whatever is there: a new page cannot be forgotten."""

SHELL = {"", "sh", "bash", "shell", "console"}
"""Languages of blocks whose lines are commands: a block that does not say what it is, too."""


@dataclass(frozen=True)
class Block:
    line: int
    """Of its first line, in the page."""
    language: str
    title: str | None
    """File that the page says it is, by ```toml title="mine.toml"```."""
    text: str


@dataclass(frozen=True)
class Command:
    line: int
    text: str
    stages: tuple[tuple[str, ...], ...]
    """Words of each program of the pipe."""


def blocks(markdown: str) -> Iterator[Block]:
    lines = iter(enumerate(markdown.splitlines(), 1))
    for number, line in lines:
        if not (fence := re.match(r"( *)(`{3,}|~{3,})([\w-]*)(.*)", line)):
            continue
        indent, marks, language, rest = fence.groups()
        inside = []
        for _, text in lines:
            if text.strip() == marks:
                break
            inside.append(text.removeprefix(indent))
        else:
            raise ValueError(f"line {number}: the block has no end")
        title = re.search(r'title="([^"]+)"', rest)
        yield Block(number + 1, language, title[1] if title else None, "\n".join(inside) + "\n")


def commands(block: Block) -> Iterator[Command]:
    """Of a block of shell, each line with those that continue it."""
    lines = enumerate(block.text.splitlines(), block.line)
    for number, line in lines:
        while line.endswith(("\\", "|")):
            line = line.removesuffix("\\") + " " + next(lines)[1].lstrip()
        parser = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;")
        parser.whitespace_split = True
        stages: list[list[str]] = [[]]
        try:
            words = list(parser)
        except ValueError as error:
            raise ValueError(f"line {number}: {error} in {line!r}; a block that is no shell is called text") from None
        for word in words:
            if word in ("&&", ";"):
                yield Command(number, line, tuple(map(tuple, stages)))
                stages = [[]]
            elif word == "|":
                stages.append([])
            else:
                stages[-1].append(word)
        if stages != [[]]:
            yield Command(number, line, tuple(map(tuple, stages)))


def inline(markdown: str) -> Iterator[tuple[int, str]]:
    """Line and text of what stands in backquotes within the prose."""
    fenced = {
        number
        for block in blocks(markdown)
        for number in range(block.line - 1, block.line + block.text.count("\n") + 1)
    }
    for number, line in enumerate(markdown.splitlines(), 1):
        if number not in fenced:
            yield from ((number, text) for text in re.findall(r"(?<!`)`([^`]+)`(?!`)", line))
