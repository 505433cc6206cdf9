"""Photographs in tars: ours, webdataset's and hostile ones."""

import gzip
import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.datasets.shard import Row
from faceparse.core.datasets.shard_tar import write_tar
from faceparse.core.errors import DatasetError
from faceparse.core.files.local_file import list_file
from faceparse.core.images.photograph_tar import LONGEST_HEADER, tar_photographs


def pack(path: Path, members: Sequence[tuple[str | tarfile.TarInfo, bytes]], **options: Any) -> Path:
    with tarfile.open(path, "w", **options) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read(path: Path) -> list[tuple[str, bytes]]:
    found, _ = tar_photographs(list_file(path), path.name)
    return [(one.below, one.photograph.bytes()) for one in found]


def names(*members: str, path: Path) -> tuple[list[str], list[str]]:
    found, labels = tar_photographs(list_file(pack(path, [(name, b"x") for name in members])), path.name)
    return [one.below.removeprefix(f"{path.stem}/") for one in found], [str(one.relative_to(path)) for one in labels]


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_by_their_place(tmp_path: Path, format_: int) -> None:
    long = f"{'folder/' * 20}{'ä' * 60}.jpg"
    members = [("a.jpg", b"a" * 600), ("./sub/b.PNG", b"b" * 512), ("empty.bmp", b""), ("notes.txt", b"no")]
    members += [(long, b"c" * 3)] if format_ != tarfile.USTAR_FORMAT else []
    path = pack(tmp_path / "faces.tar", members, format=format_)
    expected = [("faces/a.jpg", b"a" * 600), ("faces/sub/b.PNG", b"b" * 512), ("faces/empty.bmp", b"")]
    expected += [(f"faces/{long}", b"c" * 3)] if format_ != tarfile.USTAR_FORMAT else []
    assert read(path) == expected
    one = tar_photographs(list_file(path), "in/faces.tar")[0][1]
    assert (one.below, one.photograph.where) == ("in/faces/sub/b.PNG", f"{path}/sub/b.PNG")
    assert pickle.loads(pickle.dumps(one.photograph)).bytes() == b"b" * 512
    assert one.photograph.file == path


def test_our_own_shards_give_the_photographs_alone(tmp_path: Path) -> None:
    rows = [
        Row(
            str(i),
            {"image": f"images/{i}{suffix}", "label": f"labels/{i}.png", "edge": f"edges/{i}.png"},
            {"image": f"photograph {i}".encode(), "label": b"label", "edge": b"edge"},
        )
        for i, suffix in enumerate((".jpg", ".png", ".webp"))
    ]
    write_tar(tmp_path / "train-00000.tar", rows)
    assert [data for _, data in read(tmp_path / "train-00000.tar")] == [b"photograph %d" % i for i in range(3)]


def test_shards_of_the_library_webdataset(tmp_path: Path) -> None:
    pytest.importorskip("webdataset", reason="webdataset is not installed")
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"a/{i:03d}", "jpg": b"photo %d" % i, "seg.png": b"label", "json": {"n": i}})
    assert read(tmp_path / "w.tar") == [(f"w/a/{i:03d}.jpg", b"photo %d" % i) for i in range(3)]


def test_labels_beside_photographs_are_none(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    assert names("a.jpg", "a.png", "a.edge.png", "b.jpg", path=path) == (["a.jpg", "b.jpg"], ["a.png", "a.edge.png"])
    assert names("a.png", "a.edge.png", path=path) == (["a.png"], ["a.edge.png"])
    assert names("a.photograph.png", "a.png", path=path) == (["a.photograph.png"], ["a.png"])
    assert names("a.png", "b.jpg", "x/a.jpg", path=path) == (["a.png", "b.jpg", "x/a.jpg"], [])
    assert names("2026.1.jpg", "2026.2.jpg", path=path) == (["2026.1.jpg", "2026.2.jpg"], [])
    assert names("a.left.png", "a.right.png", path=path) == (["a.left.png", "a.right.png"], [])
    assert names("._a.jpg", ".hidden/b.jpg", "c.jpg", path=path) == (["c.jpg"], [])


def test_links_devices_and_sparse_files_are_named_and_never_followed(tmp_path: Path) -> None:
    members = []
    for name, type_ in (
        *(("s.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE), ("p.jpg", tarfile.FIFOTYPE)),
        *(("d.jpg", tarfile.CHRTYPE), ("n.jpg", tarfile.GNUTYPE_SPARSE)),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = type_, "/etc/passwd"
        members.append((info, b""))
    directory = tarfile.TarInfo("folder.jpg")
    directory.type = tarfile.DIRTYPE
    path = pack(tmp_path / "t.tar", [*members[:4], ("good.jpg", b"good"), (directory, b"")])
    found, _ = tar_photographs(list_file(path), "t.tar")
    good = [one.photograph.bytes() for one in found if one.below == "t/good.jpg"]
    assert good == [b"good"]
    for one in found:
        if one.below != "t/good.jpg":
            with pytest.raises(DatasetError, match=r"t.tar/\w+.jpg: a link or the like, not a file; put the "):
                one.photograph.bytes()


def test_compressed_tars_are_refused(tmp_path: Path) -> None:
    plain = pack(tmp_path / "t.tar", [("a.jpg", b"a")]).read_bytes()
    path = tmp_path / "z.tar"
    path.write_bytes(gzip.compress(plain))
    with pytest.raises(DatasetError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: compressed by gzip, so its members have no place; uncompress it first"


def test_every_cut_is_noticed_before_anything_is_parsed(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.tar", [(f"{i}.jpg", bytes([i + 1]) * 700) for i in range(4)])
    whole = path.read_bytes()
    end = 4 * (512 + 1024)
    for length in (*range(0, end + 512, 256), 100, 513, end - 1, end + 511):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"damaged or cut short tar \(.*; copy it again") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[: end + 512])  # some programs write one block of zeros alone
    assert len(read(path)) == 4


def test_damage_between_members_does_not_end_the_tar_silently(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.tar", [(f"{i}.jpg", b"x" * 512) for i in range(4)])
    data = bytearray(path.read_bytes())
    data[1024:1034] = b"\xff" * 10  # in the second header: its checksum is wrong
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged tar"):
        read(path)
    path.write_bytes(pack(path, [("a.jpg", b"a")]).read_bytes() * 2)
    with pytest.raises(DatasetError, match="something after its end"):
        read(path)


def test_no_tar_at_all(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    for data in (b"", b"text" * 1000, b"\xff" * 2000):
        path.write_bytes(data)
        with pytest.raises(DatasetError, match="damaged or cut short tar"):
            read(path)


def _with_size(name: str, size: bytes, type_: bytes = tarfile.REGTYPE) -> bytes:
    """A header that tells of another size than its content has."""
    info = tarfile.TarInfo(name)
    info.type = type_
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


HUGE, BELOW_ZERO = b"\x80" + (2**60).to_bytes(11, "big"), b"\xff" + (-1024).to_bytes(11, "big", signed=True)


@pytest.mark.parametrize("size", [HUGE, BELOW_ZERO, (b"%011o\0" % (LONGEST_HEADER + 1))])
@pytest.mark.parametrize("type_", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_that_lie_about_sizes_end_at_once(tmp_path: Path, size: bytes, type_: bytes) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(_with_size("a.jpg", size, type_) + bytes(4096))
    with pytest.raises(DatasetError, match="damaged") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_thousand_nested_headers_end_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(_with_size("x", b"%011o\0" % 0, tarfile.GNUTYPE_LONGNAME) * 5000 + bytes(10240))
    with pytest.raises(DatasetError, match="damaged or cut short tar"):
        read(path)


def test_a_member_larger_than_any_photograph_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    size = 2**30 + 512
    with path.open("wb") as file:  # with a hole in it
        file.write(_with_size("a.jpg", b"%011o\0" % size))
        file.truncate(512 + size + 10240)
    ((found,), _) = tar_photographs(list_file(path), "t.tar")
    with pytest.raises(DatasetError, match=rf"t.tar/a.jpg: {size} bytes are too many for a photograph; make"):
        found.photograph.bytes()


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.tar", [("a.jpg", b"1"), ("./a.jpg", b"2")])
    with pytest.raises(DatasetError, match=r"t.tar: has a.jpg twice; unpack it, or pack it anew"):
        read(path)


def test_a_tar_that_changes_is_not_read_as_it_was(tmp_path: Path) -> None:
    path = pack(tmp_path / "t.tar", [("a.jpg", b"1"), ("b.jpg", b"2")])
    found, _ = tar_photographs(list_file(path), "t.tar")
    assert len({one.photograph.stamp for one in found}) == 2
    pack(path, [("a.jpg", b"1" * 20_000), ("b.jpg", b"2")])
    with pytest.raises(DatasetError, match="has changed since it was listed"):
        found[1].photograph.bytes()
