"""Notes that the processes on a machine leave for the launcher and for processes that start after them."""

import pickle
from pathlib import Path
from typing import Any

from faceparse.core.errors import FaceparseError
from faceparse.core.files.writing import write_atomic
from faceparse.core.training.run import RunResult


class Notes:
    """Small files in a folder of the launcher's. Without a folder, nothing is kept and nothing is found."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def error(self) -> FaceparseError | None:
        """Error that makes another start useless; None where there is none."""
        error: FaceparseError | None = self._load("error")
        return error

    @error.setter
    def error(self, error: FaceparseError) -> None:
        self._write("error", pickle.dumps(error))

    @property
    def result(self) -> RunResult | None:
        """Outcome of the run, once it is finished."""
        result: RunResult | None = self._load("result")
        return result

    @result.setter
    def result(self, result: RunResult) -> None:
        self._write("result", pickle.dumps(result))

    @property
    def lost(self) -> str:
        """Why a process was lost; empty where none was."""
        return self._read("lost").decode()

    @lost.setter
    def lost(self, reason: str) -> None:
        self._write("lost", reason.encode())

    @property
    def run_dir(self) -> Path | None:
        """Run directory of the run under way; None before it exists."""
        name = self._read("run_dir").decode()
        return Path(name) if name else None

    def keep_run_dir(self, path: Path) -> None:
        """Note the run directory."""
        self._write("run_dir", str(path).encode())

    @property
    def advice(self) -> str:
        """How to go on, for the end of an error message."""
        return f"go on with: faceparse train --resume {self.run_dir}" if self.run_dir else "nothing was trained"

    def _load(self, name: str) -> Any:
        """Return what was pickled; None where there is none."""
        content = self._read(name)
        return pickle.loads(content) if content else None

    def _read(self, name: str) -> bytes:
        path = self._folder / name if self._folder else None
        return path.read_bytes() if path and path.exists() else b""

    def _write(self, name: str, content: bytes) -> None:
        if self._folder:
            write_atomic(self._folder / name, content)
