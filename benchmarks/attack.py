"""One command with files of strangers, in a process of its own, and what it did there."""

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
"""Seconds after which a command hangs."""


def nothing_passes(_folder: Path, _code: int, _output: str) -> int:
    """Returns 0: no damaged file can be taken for whole."""
    return 0


@dataclass(frozen=True)
class Attack:
    """A command and the files it gets."""

    kind: str
    what: str
    """To see it again."""
    arguments: tuple[str, ...]
    files: Mapping[str, bytes | Path]
    """What lies in the folder in which the command runs: its content, or a file or folder to copy."""
    passed: Callable[[Path, int, str], int] = nothing_passes
    """How many damaged files were taken for whole; from the folder, the exit code and the output."""
    tries: int = 1
    """Changed files."""
    arrange: Callable[[Path], object] = lambda _folder: None
    """Puts into that folder what is no file."""
    fixed: Mapping[str, bytes] | None = None
    """The right files in their places, with which a command that was refused is started again."""
    whole: Callable[[Path], bool] = lambda _folder: True
    """Whether it then gave all that it should, and no more."""


@dataclass
class Count:
    """What happened, in numbers of tries or of commands."""

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
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def attempt(attack: Attack) -> tuple[Count, str]:
    """What one attack did, and the command's last lines where it did harm."""
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        place = Path(name)
        folder = place / "above" / "here"  # `../` and `../../` lead to what is watched
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
    """Exit code and output of `faceparse` in a folder; -9 and the like where a signal ended it, 124 where it hangs, 99
    where it raises.
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
    """A Ghostscript that leaves a mark, as `attacks.Code` does."""
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
    """Each file's, by its path; a folder's is empty."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if but is None or (path != but and but not in path.parents):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path.relative_to(folder))] = content
    return found


def hidden(folder: Path) -> list[Path]:
    """Temporary files and folders that nobody removed."""
    return [path for path in folder.rglob(".*") if path.name.startswith(".faceparse-")]
