"""Run one command on files of strangers, in a process of its own, and see what it does."""

import hashlib
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

LIMIT = 60.0
"""Seconds after which a command counts as hanging."""


def nothing_passes(_folder: Path, _code: int, _output: str) -> int:
    """Return 0, for attacks in which no damaged file can look whole."""
    return 0


@dataclass(frozen=True)
class Attack:
    """A command and the files it gets."""

    kind: str
    what: str
    """Name of the attack, to run it again."""
    arguments: tuple[str, ...]
    files: Mapping[str, bytes | Path]
    """Path -> content, in the folder in which the command runs: bytes, or a file or folder to copy."""
    passed: Callable[[Path, int, str], int] = nothing_passes
    """Counts damaged files that the command took for whole, from the folder, the exit code and the output."""
    tries: int = 1
    """Number of changed files."""
    arrange: Callable[[Path], object] = lambda _folder: None
    """Adds links, pipes and the like to the folder."""
    fixed: Mapping[str, bytes] | None = None
    """Right files by path. A command that refused starts again with these."""
    whole: Callable[[Path], bool] = lambda _folder: True
    """Whether the second start gave everything that it should, and nothing else."""


@dataclass
class Count:
    """Outcomes, as numbers of tries or of commands."""

    tries: int = 0
    refused: int = 0
    executed: int = 0
    outside: int = 0
    tracebacks: int = 0
    crashes: int = 0
    hangs: int = 0
    passed: int = 0
    leftovers: int = 0

    def add(self, other: "Count") -> None:
        """Add another count to this one."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def attempt(attack: Attack) -> tuple[Count, str]:
    """Run one attack. Return its outcomes, and the command's last lines where it did harm."""
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        place = Path(name)
        folder = place / "above" / "here"  # so that `../` and `../../` lead to folders that are watched
        folder.mkdir(parents=True)
        _set_trap(place)
        _put(attack.files, folder)
        attack.arrange(folder)
        before = checksums(place, but=folder)
        code, output = command(attack.arguments, folder)
        count = Count(tries=attack.tries, refused=int(code != 0))
        count.tracebacks = int("Traceback (most recent call last)" in output or code == 99)
        count.hangs = int(code == 124)
        count.crashes = int(code < 0)
        count.executed = int((place / "executed").exists())
        count.outside = int(checksums(place, but=folder) != before) - count.executed
        count.passed = attack.passed(folder, code, output)
        count.leftovers = int(bool(hidden(folder)))
        if attack.fixed is not None and code:
            _put(attack.fixed, folder)
            code, again = command(attack.arguments, folder)
            if code or not attack.whole(folder):
                count.leftovers, output = 1, output + again
        harm = sum(vars(count).values()) - count.tries - count.refused
        return count, output[-1500:] if harm else ""


def command(arguments: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Run `faceparse` in a folder and return its exit code and output.

    The code is negative (-9) where a signal ended the command, 124 where it hangs, and 99 where it raises.
    """
    output = folder.parent.parent / "output.txt"
    process = _CONTEXT.Process(target=_run, args=(arguments, folder, output))
    process.start()
    process.join(LIMIT)
    code = 124 if process.exitcode is None else process.exitcode
    if process.pid is not None and process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    text = output.read_text(errors="replace")
    output.unlink()
    return code, text


def _put(files: Mapping[str, bytes | Path], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content.is_dir():
            shutil.copytree(content, folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(content, folder / name)


def _set_trap(place: Path) -> None:
    """Install a false Ghostscript that leaves a mark, as `attacks.Code` does."""
    (place / "bin").mkdir()
    (place / "bin" / "gs").write_text('#!/bin/sh\ntouch "$ATTACK_MARK"\n')
    (place / "bin" / "gs").chmod(0o755)


def _run(arguments: tuple[str, ...], folder: Path, output: Path) -> None:
    os.setsid()
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(folder)
    place = folder.parent.parent
    os.environ |= {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "ATTACK_MARK": str(place / "executed")}
    from faceparse import cli

    try:
        code = cli.run(list(arguments))
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["faceparse.cli", "faceparse.core.load", "faceparse.core.api", "faceparse.core.training.run", "onnxruntime"]
)


def checksums(folder: Path, *, but: Path | None = None) -> dict[str, str]:
    """Path -> SHA-256 of each file below a folder; empty for folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if but is None or (path != but and but not in path.parents):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path.relative_to(folder))] = content
    return found


def hidden(folder: Path) -> list[Path]:
    """Temporary files and folders that were not removed."""
    return [path for path in folder.rglob(".*") if path.name.startswith(".faceparse-")]
