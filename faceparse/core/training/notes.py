"""What the processes on a machine leave to those that are started after them, and to the launcher."""

import pickle
from pathlib import Path

from faceparse.core.errors import FaceparseError
from faceparse.core.files.writing import write_atomic


class Notes:
    """Files in a folder of the launcher's; without a folder, nothing is left and nothing found."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def error(self) -> FaceparseError | None:
        """Why it is of no use to start again."""
        content = self._read("error")
        return pickle.loads(content) if content else None

    @error.setter
    def error(self, error: FaceparseError) -> None:
        self._write("error", pickle.dumps(error))

    @property
    def lost(self) -> str:
        return self._read("lost").decode()

    @lost.setter
    def lost(self, reason: str) -> None:
        self._write("lost", reason.encode())

    @property
    def run_dir(self) -> Path | None:
        name = self._read("run_dir").decode()
        return Path(name) if name else None

    def keep_run_dir(self, path: Path) -> None:
        self._write("run_dir", str(path).encode())

    @property
    def advice(self) -> str:
        return f"go on with: faceparse train --resume {self.run_dir}" if self.run_dir else "nothing was trained"

    def _read(self, name: str) -> bytes:
        path = self._folder / name if self._folder else None
        return path.read_bytes() if path and path.exists() else b""

    def _write(self, name: str, content: bytes) -> None:
        if self._folder:
            write_atomic(self._folder / name, content)
