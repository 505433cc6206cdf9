"""Files elsewhere, against moto's server for S3, fsspec's own memory, and servers that refuse, wait or break off."""

import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import fsspec
import pytest
from fsspec.config import conf

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.files.remote import RemoteFile, ask_many, find_remote, is_remote, without_file_protocol

Store = Callable[[str, bytes], str]


def below(address: str, *, recursive: bool = False) -> tuple[str, list[str]]:
    kind, files = find_remote(address, recursive=recursive)
    return kind, [one for _, one in files]


def only(address: str) -> RemoteFile:
    _, ((file, _),) = find_remote(address, recursive=False)
    return file


def test_files_folders_and_patterns_of_a_bucket(bucket: Store) -> None:
    for key in ("a.jpg", "in/b.JPG", "in/c.png", "in/deep/d.jpg", "in/x[1].jpg"):
        bucket(key, key.encode())
    assert below("s3://photos/in/b.JPG") == ("file", ["b.JPG"])
    assert below("s3://photos/in/x[1].jpg") == ("file", ["x[1].jpg"])
    assert below("s3://photos/in") == ("folder", ["b.JPG", "c.png", "x[1].jpg"])
    assert below("s3://photos/in/", recursive=True) == ("folder", ["b.JPG", "c.png", "deep/d.jpg", "x[1].jpg"])
    assert below("s3://photos", recursive=True)[1][:2] == ["a.jpg", "in/b.JPG"]
    assert below("s3://photos/in/[bc].*") == ("pattern", ["b.JPG", "c.png"])
    assert below("s3://photos/**/*.jpg") == ("pattern", ["a.jpg", "in/b.JPG", "in/deep/d.jpg", "in/x[1].jpg"])
    for file, name in find_remote("s3://photos/in/*", recursive=False)[1]:
        assert file.where == f"s3://photos/in/{name}"
        assert pickle.loads(pickle.dumps(file)).read() == f"in/{name}".encode()


def test_parts_are_read_and_stamps_change_with_the_content(bucket: Store) -> None:
    address = bucket("a.bin", bytes(range(250)))
    file = only(address)
    assert file.part(10, 5) == bytes(range(10, 15))
    assert file.part(240, 100) == bytes(range(240, 250))
    assert file.part(3, 0) == b""
    with file.open(64) as opened:
        assert (opened.seek(100), opened.read(3), opened.tell()) == (100, bytes([100, 101, 102]), 103)
    assert only(address).stamp == file.stamp
    bucket("a.bin", bytes(250))
    assert only(address).stamp != file.stamp
    bucket("a.bin", bytes(251))
    with pytest.raises(DatasetError, match=r"^s3://photos/a.bin: 251 bytes, 250 were listed; it has changed"):
        file.read()
    bucket("empty.jpg", b"")
    assert only("s3://photos/empty.jpg").read() == b""


def test_what_is_not_there_is_named(bucket: Store) -> None:
    file = only(bucket("a.jpg", b"a"))
    for address in ("s3://photos/none.jpg", "s3://nobody-has-this/a.jpg", "s3://nobody-has-this"):
        with pytest.raises(DatasetError) as caught:
            find_remote(address, recursive=False)
        assert str(caught.value) == f"{address}: no such file, folder or bucket; correct the address"
    fsspec.filesystem("s3").rm("photos/a.jpg")
    with pytest.raises(DatasetError, match=r"^s3://photos/a.jpg: no such file, folder or bucket; correct the address$"):
        file.read()


def test_a_file_that_is_too_large_is_not_fetched() -> None:
    with pytest.raises(DatasetError, match="s3://b/a.jpg: 2000000000 bytes are too many for a photograph"):
        RemoteFile("s3://b/a.jpg", 2_000_000_000, "x").read()


class Odd(BaseHTTPRequestHandler):
    """A store that answers every request in one odd way, and counts them."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.server.answer(self)  # type: ignore[attr-defined]

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[Odd], object]], list[str]]]:
    """Serve answers of this kind for s3://; returns the requests."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    servers = []

    def serve(answer: Callable[[Odd], object]) -> list[str]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        server.answer, server.asked = answer, list[str]()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setitem(conf, "s3", {"key": "a", "secret": "b", "endpoint_url": url})
        monkeypatch.setattr("s3fs.S3FileSystem.read_timeout", 0.2)
        return server.asked  # type: ignore[attr-defined, no-any-return]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def refuse(request: Odd) -> None:
    text = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    request.send_response(403)
    request.send_header("Content-Length", str(len(text)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(text)


def break_off(request: Odd) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "5000")
    request.send_header("ETag", '"x"')
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(b"some")


@pytest.mark.parametrize("place", ["a.jpg", "folder/", "folder/*.jpg"])
def test_a_store_that_refuses_is_told(odd: Any, place: str) -> None:
    odd(refuse)
    with pytest.raises(DatasetError, match=rf"^s3://b/{place[:6]}.*: access refused \(.*\); check the credentials$"):
        find_remote(f"s3://b/{place}", recursive=False)
    with pytest.raises(DatasetError, match=r"^s3://b/a.jpg: access refused \(.*\); check the credentials$"):
        RemoteFile("s3://b/a.jpg", 10, "x").read()


def test_a_store_that_does_not_answer_is_asked_a_few_times(odd: Any) -> None:
    over = threading.Event()
    asked = odd(lambda request: over.wait(30))
    with pytest.raises(DatasetError, match=r"^cannot read s3://b/a.jpg: Read timeout on .*; try again$") as caught:
        RemoteFile("s3://b/a.jpg", 10, "x").read()
    assert "\n" not in str(caught.value)
    assert len(asked) == 8
    over.set()


def test_a_store_that_breaks_off_is_told(odd: Any) -> None:
    asked = odd(break_off)
    with pytest.raises(DatasetError, match=r"^cannot read s3://b/a.jpg: .*; try again$") as caught:
        RemoteFile("s3://b/a.jpg", 5000, "x").read()
    assert "\n" not in str(caught.value)
    assert len(asked) <= 8


def test_a_protocol_without_its_package_names_the_package() -> None:
    if find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    with pytest.raises(ResourceError) as caught:
        find_remote("gs://bucket/a.jpg", recursive=False)
    assert str(caught.value).startswith("gs://bucket/a.jpg: ")
    assert str(caught.value).endswith("; 'pip install gcsfs'")
    with pytest.raises(DatasetError, match="^nonsense://a: fsspec knows no nonsense://; correct the address$"):
        find_remote("nonsense://a", recursive=False)


def test_chained_addresses_are_refused_wherever_they_come_from() -> None:
    fsspec.filesystem("memory").pipe("/chained/simplecache::file:", b"x")
    for address in ("simplecache::s3://b/a.jpg", "zip://a.jpg::file:///x.zip", "memory://a::file:///etc/passwd"):
        with pytest.raises(DatasetError, match=r"addresses with :: are not read; name one place$"):
            find_remote(address, recursive=False)
        with pytest.raises(DatasetError, match=r"addresses with :: are not read; name one place$"):
            RemoteFile(address, 1, "").read()


def test_where_nothing_tells_of_changes_each_listing_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/plain/a.jpg", b"a")
    first = only("memory://plain/a.jpg")
    assert only("memory://plain/a.jpg").stamp == first.stamp
    assert first.read() == b"a"
    monkeypatch.setattr(type(system), "info", lambda self, path: {"name": path, "size": 1, "type": "file"})
    assert only("memory://plain/a.jpg").stamp != only("memory://plain/a.jpg").stamp


def test_passwords_and_signatures_stay_out_of_messages() -> None:
    signed = "https://host/a.jpg?X-Amz-Credential=id&X-Amz-Signature=secret&v=1"
    assert RemoteFile(signed, 1, "").where == "https://host/a.jpg?v=1"
    assert RemoteFile("ftp://me:secret@host/a.jpg", 1, "").where == "ftp://host/a.jpg"


def test_addresses_are_told_from_paths() -> None:
    for text in ("s3://b", "S3://b", "https://h/a", "hf://x"):
        assert is_remote(text)
    for text in ("a.jpg", "/a/b", "C:/a", "file:///a.jpg", "local://a", "webcam:0", "s3:/b"):
        assert not is_remote(text)
    assert without_file_protocol("file:///a/b.jpg") == "/a/b.jpg"
    assert without_file_protocol("/a/b.jpg") == "/a/b.jpg"


def test_answers_come_in_the_order_of_the_questions() -> None:
    assert list(ask_many(lambda n: n * n, range(1500))) == [n * n for n in range(1500)]
