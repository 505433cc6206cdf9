"""The commands in this process: a new one costs seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from faceparse.cli import run


@dataclass(frozen=True)
class Done:
    """What a command left on the screen."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line of a command that was refused."""
        assert self.code == 2, (self.code, self.err)
        assert self.out == ""
        assert self.err.startswith("error: ")
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("error: ").rstrip()


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[], dict[Path, bytes]]:
    """All files of the test's folder, to be compared: a command that is refused writes nothing."""
    return lambda: {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
