"""Photographs that are not read yet."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files.remote import RemoteFile
from faceparse.core.images.photograph import Given, Missing, Photograph


def test_a_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").write_bytes(b"abc")
    os.utime("a.jpg", ns=(5, 7))
    one = Photograph("a.jpg")
    assert (one.path, one.file, one.stamp, one.bytes()) == (str(tmp_path / "a.jpg"), Path("a.jpg"), "3 7", b"abc")


@pytest.mark.parametrize("where", ["gone.jpg", "a\0b.jpg", "x" * 5000])
def test_a_file_that_is_not_there_has_no_stamp(where: str) -> None:
    assert Photograph(where).stamp == ""
    with pytest.raises(DatasetError, match="^cannot read "):
        Photograph(where).bytes()


def test_given_bytes_have_no_place() -> None:
    one = Photograph("stdin", content=Given(b"abc"))
    assert (one.path, one.file, one.bytes()) == ("", None, b"abc")
    assert one.stamp == hashlib.sha256(b"abc").hexdigest()


def test_one_elsewhere_has_its_address_for_a_path() -> None:
    one = Photograph("s3://b/a.jpg", content=RemoteFile("s3://b/a.jpg", 3, "3 x"))
    assert (one.path, one.file, one.stamp) == ("s3://b/a.jpg", None, "3 x")


def test_one_that_cannot_be_read_says_why() -> None:
    missing = Missing("t.tar/a.jpg: a link", "1", Path("t.tar"))
    one = pickle.loads(pickle.dumps(Photograph("t.tar/a.jpg", content=missing)))
    assert (one.stamp, one.file) == ("1", Path("t.tar"))
    with pytest.raises(DatasetError, match="^t.tar/a.jpg: a link$"):
        one.bytes()
