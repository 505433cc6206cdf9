"""Files that must stay as they were listed."""

import os
from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files.local_file import list_file


def test_parts_are_read_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    file = list_file(path)
    assert file.where == str(path)
    assert file.part(10, 3) == bytes([10, 11, 12])
    assert file.part(98, 10) == bytes([98, 99])
    with file.open() as opened:
        assert opened.read() == bytes(range(100))


def test_a_file_that_has_changed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    file = list_file(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DatasetError, match="a: has changed since it was listed; start the command again$"):
        file.part(0, 1)
    path.unlink()
    with pytest.raises(DatasetError, match="^cannot read .*a: No such file or directory$"):
        file.open()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="it is no regular file; replace it by one"):
        list_file(tmp_path / "pipe")
