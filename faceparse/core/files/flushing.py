"""Makes what was written outlast a power failure, too."""

import os
from pathlib import Path
from typing import BinaryIO

from faceparse.core.files.locks import open_folder


def flush_file(file: BinaryIO) -> int:
    """Write an open file's content to the disk and return its size in bytes."""
    file.flush()
    os.fsync(file.fileno())
    return os.fstat(file.fileno()).st_size


def flush_folder(folder: Path) -> None:
    """Write a folder's list of files to the disk, where the system can."""
    if (handle := open_folder(folder)) is not None:
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
