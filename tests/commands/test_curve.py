from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_folds import TINY, cells

Tree = Callable[[], dict[Path, bytes]]


def test_it_prints_the_points_and_a_sentence(cli: Any, faces: Path) -> None:
    done = cli("curve", *TINY, "--data-dir", faces, "--shares", "0.5,1", "--curve-dir", "c")
    assert done.code == 0
    assert [row[:2] for row in cells(done.out)] == [["50%", "6"], ["100%", "12"]]
    verdict, chart = done.out.splitlines()[-2:]
    assert verdict.startswith("Whether more labels would help cannot be said: only 2 photographs")
    assert chart == "chart: c/curve.html"
    again = cli("curve", "--resume", "c")
    assert (again.code, again.out) == (0, done.out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--shares", "half"), "--shares 'half': write numbers, such as 0.25,0.5,1"),
        (("--shares", "1"), "--shares 1: give at least two, growing, above 0 and up to 1, such as 0.25,0.5,1"),
        (("--shares", "nan,1"), "--shares nan,1: give at least two, growing, above 0 and up to 1"),
        (("--resume", "c", "--epochs", 3), "--resume goes on with the curve's own settings; drop the other options"),
        (("--resume", "nowhere"), "nowhere: not a sweep directory (no sweep.json in it)"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    cli: Any, tree: Tree, arguments: tuple[object, ...], expected: str
) -> None:
    assert cli("curve", *arguments).message.startswith(expected)
    assert tree() == {}
