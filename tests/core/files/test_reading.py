"""Files are read with errors that name them, and nothing that never ends is read."""

import os
from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(DatasetError, match=f"^cannot read {tmp_path / name}: it is no regular file"):
            read_bytes(tmp_path / name)


def test_a_pipe_is_read_where_it_is_asked_for() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a.jpg")
    os.close(writer)
    assert read_bytes(Path(f"/dev/fd/{reader}"), pipes=True) == b"a.jpg"
    os.close(reader)
