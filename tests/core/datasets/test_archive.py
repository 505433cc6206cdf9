"""Archives: what is in them arrives, what is dangerous in them does not."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets import archive as module
from faceparse.core.datasets.archive import unpack
from faceparse.core.errors import DatasetError, OutputError

FILES = {"data/a.txt": b"one", "data/deep/b.bin": bytes(range(256)) * 500, "data/empty": b""}


def make(path: Path, files: dict[str, bytes] = FILES) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.mkdir("data")
            for name, data in files.items():
                file.writestr(name, data)
    else:
        with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '')}") as tar:  # type: ignore[call-overload]
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), 1_600_000_000
                tar.addfile(info, io.BytesIO(data))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".complete"
    }


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.gz", "a.xz", "a.bz2"])
def test_all_files_arrive(tmp_path: Path, name: str) -> None:
    unpack(make(tmp_path / name), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_dates_are_the_archives_own(tmp_path: Path, name: str) -> None:
    """So that unpacking again changes nothing that a later run compares."""
    archive = make(tmp_path / name)
    for folder in ("one", "two"):
        unpack(archive, tmp_path / folder)
    one, two = ((tmp_path / folder / "data" / "a.txt").stat().st_mtime_ns for folder in ("one", "two"))
    assert one == two
    assert one < archive.stat().st_mtime_ns + 2 * 10**9


def test_what_is_unpacked_is_left_alone(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip")
    unpack(archive, tmp_path / "out")
    (tmp_path / "out" / "data" / "a.txt").write_text("changed")
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "data" / "a.txt").read_text() == "changed"
    make(archive, {"data/a.txt": b"another archive"})
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "data" / "a.txt").read_text() == "another archive"


def test_what_is_unpacked_half_is_unpacked_again(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip")
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / "data" / "a.txt").write_text("hal")
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil", "/evil", "data/../../evil", "..\\evil", "C:/evil"])
def test_no_path_leads_outside(tmp_path: Path, suffix: str, name: str) -> None:
    archive = make(tmp_path / f"a.{suffix}", {"fine": b"", name: b"evil"})
    with pytest.raises(DatasetError, match=r"a\.\w+: .*evil' would be written outside the folder; unpack it yourself$"):
        unpack(archive, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "in").exists()  # nothing at all was written


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DatasetError, match=r"a\.zip: 'link' is a link; unpack it yourself"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("strange")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(DatasetError, match=r"a\.tar: 'strange' is a link or a device; unpack it yourself"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILES", 2), ("MAX_BYTES", 1000)])
def test_size_and_count_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(module, limit, value)
    with pytest.raises(DatasetError, match="unpack it yourself and give the folder"):
        unpack(make(tmp_path / "a.zip"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_without_room_is_said_before_it_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(OutputError, match=r"out: a\.zip needs 0\.0 GB, 0\.0 GB are free; free space"):
        unpack(make(tmp_path / "a.zip"), tmp_path / "out")
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["a.zip", "a.gz", "a.xz"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, name: str) -> None:
    archive = make(tmp_path / name)
    data = bytearray(archive.read_bytes())
    for i in range(60, 120):
        data[i] ^= 0x55
    archive.write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        unpack(archive, tmp_path / "out")
    assert str(caught.value).startswith(f"{archive}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / ".complete").exists()


def test_a_truncated_tar_is_one_line(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.gz")
    archive.write_bytes(archive.read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"a\.gz: "):
        unpack(archive, tmp_path / "out")


def test_another_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match=r"a\.zip: neither a folder nor a zip or tar; unpack it and give the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.zip: an empty archive"):
        unpack(make(tmp_path / "a.zip", {}), tmp_path / "out")


# Damage that the libraries pass over.


def tar_of(count: int = 3) -> bytes:
    """Members of one block each, so that headers lie at 0, 1024, 2048, ..."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(count):
            info = tarfile.TarInfo(f"data/{i}.txt")
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


def refusal(archive: Path, data: bytes) -> str:
    """The one line with which an archive of this content is refused."""
    archive.write_bytes(data)
    with pytest.raises(DatasetError) as caught:
        unpack(archive, archive.parent / "out")
    assert "\n" not in str(caught.value)
    assert not (archive.parent / "out" / ".complete").exists()
    return str(caught.value)


def changed(data: bytes, at: int, to: bytes) -> bytes:
    return data[:at] + to + data[at + len(to) :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (changed(tar_of(), 1024, b"X"), "no valid header at byte 1024"),
        (changed(tar_of(), 1024 + 148, b"0000000"), "no valid header at byte 1024"),  # its checksum
        (changed(tar_of(), 1024, bytes(1024)), "files follow its end"),
        (changed(tar_of(), 0, b"X"), "bad checksum"),
        (tar_of()[:1024], "cut short: its end is missing"),  # between two members
        (tar_of()[: 3 * 1024], "cut short: its end is missing"),
        (tar_of()[: 3 * 1024 + 512], "cut short: its end is missing"),
        (tar_of()[:1600], "unexpected end of data"),
        (tar_of() + tar_of(), "files follow its end"),
    ],
)
def test_a_damaged_tar_is_not_taken_for_whole(tmp_path: Path, data: bytes, reason: str) -> None:
    archive = tmp_path / "a.tar"
    message = refusal(archive, data)
    assert message.startswith(f"{archive}: damaged archive (")
    assert reason in message
    assert message.endswith("); download it again")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_read_to_its_end(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Where its checksum is."""
    whole = compress(tar_of())
    (tmp_path / "a").write_bytes(whole)
    unpack(tmp_path / "a", tmp_path / "whole")
    for data in (whole[:-2], compress(tar_of()[: 2 * 1024]), changed(whole, len(whole) - 8, b"\1\2\3\4")):
        assert "damaged archive (" in refusal(tmp_path / "a", data)


def test_a_damaged_zip_is_still_a_zip(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.zip").read_bytes()
    for data in (whole[:-30], changed(whole, len(whole) - 22, b"xx")):
        assert refusal(tmp_path / "a.zip", data).endswith("damaged archive (File is not a zip file); download it again")


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = make(tmp_path / "inner.zip").read_bytes()
    unpack(make(tmp_path / "a.tar", {"x/inner.zip": inner}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"x/inner.zip": inner}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.gz", "a.xz", "a.bz2"])
def test_a_mutated_archive_gives_its_files_or_one_line(tmp_path: Path, name: str, seed: int) -> None:
    """Names, dates, and what a tar does not guard by a checksum, its files' bytes, may be others."""
    archive, random = make(tmp_path / name), np.random.default_rng(seed)
    data = bytearray(archive.read_bytes())
    if seed % 4 == 0:
        del data[int(random.integers(len(data))) :]
    else:
        for at in random.integers(len(data), size=seed % 4):
            data[at] ^= 1 << int(random.integers(8))
    archive.write_bytes(data)
    try:
        unpack(archive, tmp_path / "out")
    except DatasetError as error:
        assert "\n" not in str(error)
        return
    found = contents(tmp_path / "out")
    if name == "a.tar":
        assert {key: len(value) for key, value in found.items()} == {key: len(value) for key, value in FILES.items()}
    else:
        assert sorted(found.values()) == sorted(FILES.values())


@pytest.mark.parametrize("date", [-1, 2.0**40, 1e300, float("inf"), float("nan")])
def test_a_date_that_no_file_can_have_is_none(tmp_path: Path, date: float) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"mtime": str(date)}
        tar.addfile(info)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "x").stat().st_mtime == 0


@pytest.mark.parametrize("size", [2**43, 2**62, 2**80, -5])
def test_sizes_that_cannot_be_are_one_line(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("x")
    info.size = size
    try:
        header = info.tobuf(tarfile.GNU_FORMAT)
    except (ValueError, OverflowError):
        pytest.skip("no header can say it")
    message = refusal(tmp_path / "a.tar", header + bytes(2048))
    assert "unpack it yourself" in message or "damaged archive (" in message


@pytest.mark.parametrize("name", ["n" * 256, "deep/" + "n" * 256, "ä" * 128, "."])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path / "a.tar", make(tmp_path / "a.tar", {name: b"x"}).read_bytes())
    assert message.endswith("cannot be the name of a file; unpack it yourself")


# Whose the unpacked files are.


def test_nothing_of_another_archive_is_left(tmp_path: Path) -> None:
    unpack(make(tmp_path / "a.zip"), tmp_path / "out")
    unpack(make(tmp_path / "a.zip", {"data/new": b"new"}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"data/new": b"new"}


def test_an_archive_is_told_by_its_content(tmp_path: Path) -> None:
    """Not by its size and date alone."""
    archive = make(tmp_path / "a.tar", {"x": b"one"})
    unpack(archive, tmp_path / "out")
    before = archive.stat()
    make(archive, {"x": b"two"})
    os.utime(archive, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert archive.stat().st_size == before.st_size
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {"x": b"two"}


def test_of_two_members_with_one_name_the_later_counts(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar"):
        with zipfile.ZipFile(tmp_path / name, "w") if name == "a.zip" else tarfile.open(tmp_path / name, "w") as file:
            for data in (b"first", b"second, longer"):
                if isinstance(file, zipfile.ZipFile):
                    with pytest.warns(UserWarning) if data != b"first" else nullcontext():
                        file.writestr("x", data)
                else:
                    info = tarfile.TarInfo("x")
                    info.size = len(data)
                    file.addfile(info, io.BytesIO(data))
        unpack(tmp_path / name, tmp_path / f"{name}.out")
        assert contents(tmp_path / f"{name}.out") == {"x": b"second, longer"}


def test_a_name_that_is_a_file_and_a_folder_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"x": b"1", "x/y": b"2"})
    with pytest.raises(DatasetError, match=r"a\.zip: 'x' is a file and a folder in it; unpack it yourself"):
        unpack(path, tmp_path / "out")


def test_an_encrypted_zip_is_told_as_such(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    at = -1
    while (at := data.find(b"PK\1\2", at + 1)) >= 0:
        data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.zip: is encrypted; unpack it with its password and give the folder"):
        unpack(path, tmp_path / "out")


def test_nothing_is_left_of_an_archive_that_is_damaged(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip", {"a": b"a" * 5000, "b": b"b" * 5000})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("b").header_offset + 40] ^= 255  # in its content
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged archive"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
