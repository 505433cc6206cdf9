"""Lets one process at a time work in a folder, without leaving a file there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faceparse.core.errors import OutputError
from faceparse.core.files.locks import open_folder, try_lock
from faceparse.core.files.writing import make_folder
from faceparse.core.text.paths import path_problem


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Make the folder and hold it while the block runs. What was made and is still empty then is removed again.

    The lock is on the folder itself and ends with the process. Windows has no such lock.

    Raises:
        OutputError: the folder cannot be written, or another process holds it.
    """
    new = [] if path_problem(folder) else [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder)
    handle = open_folder(folder)
    try:
        if handle is not None and try_lock(handle) is False:
            raise OutputError(f"{folder}: another process is writing to it; wait for it, or choose another folder")
        yield
    finally:
        if handle is not None:
            os.close(handle)
        with suppress(OSError):  # one holds something
            for one in new:
                one.rmdir()
