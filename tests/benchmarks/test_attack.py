"""The robustness benchmark sees the harm that it counts."""

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.attack import Attack, attempt, hidden
from benchmarks.attacks import encoded_pictures, is_damage
from faceparse.core.files.leftovers import beside

PREPARE = ("prepare", "synthetic", "--count", "10", "--size", "64")


def test_a_harmless_command_is_counted_as_nothing_but_a_try() -> None:
    count, told = attempt(Attack("prepare", "well", (*PREPARE, "data"), {}))
    assert (count.tries, sum(vars(count).values()), told) == (1, 1, "")


def test_a_write_outside_and_what_is_passed_over_are_harm() -> None:
    attack = Attack("prepare", "outside", (*PREPARE, "../elsewhere"), {"a.txt": b"a"}, lambda *_: 1)
    count, told = attempt(attack)
    assert (count.outside, count.passed, count.refused) == (1, 1, 0)
    assert "train" in told


def test_a_program_that_is_started_leaves_a_mark() -> None:
    """Pillow itself starts Ghostscript, whose place a trap has taken."""
    source = "import sys, PIL.Image; PIL.Image.open(sys.argv[1]).load()"
    eps = io.BytesIO()
    Image.new("RGB", (8, 8)).save(eps, "EPS")
    attack = Attack("code", "PostScript", (source, "a.eps"), {"a.eps": eps.getvalue()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.attack._run", _run_python)
        count, _ = attempt(attack)
    assert count.executed == 1


def _run_python(arguments: tuple[str, ...], folder: Path, output: Path) -> None:
    import os
    import subprocess
    import sys

    place = folder.parent.parent
    environment = os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "ATTACK_MARK": str(place / "executed")}
    with output.open("wb") as file:
        subprocess.run([sys.executable, "-c", *arguments], cwd=folder, env=environment, stdout=file, stderr=file)


def test_temporary_files_are_leftovers(tmp_path: Path) -> None:
    left = beside(tmp_path / "a.png", "tmp")
    left.touch()
    (tmp_path / ".lock").touch()
    assert hidden(tmp_path) == [left]


@pytest.mark.parametrize("name", sorted(encoded_pictures()))
def test_what_is_cut_or_covered_by_a_checksum_is_damage(name: str) -> None:
    old = encoded_pictures()[name]
    assert not is_damage(name, old, old)
    assert is_damage(name, old, old[:-1])
    middle = len(old) // 2
    flipped = old[:middle] + bytes([old[middle] ^ 1]) + old[middle + 1 :]
    assert is_damage(name, old, flipped) == (name.endswith(".png") or name == "b.tif")
