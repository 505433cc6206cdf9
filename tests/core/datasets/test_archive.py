"""Archives: what is in them arrives, what is dangerous in them does not."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

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
