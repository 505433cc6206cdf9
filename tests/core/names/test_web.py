"""https://...#sha256=..., against a server of files on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError, OutputError
from faceparse.core.load import load_model_from
from faceparse.core.names.find import find_model
from faceparse.core.names.web import downloads

NO_HASH = "0" * 64


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def kept() -> list[str]:
    return [path.name for path in downloads().iterdir()] if downloads().is_dir() else []


def put(served: tuple[Path, str], name: str, content: bytes) -> str:
    """The address of a file with that content, with its checksum."""
    folder, url = served
    (folder / name).write_bytes(content)
    return f"{url}/{name}#sha256={hashlib.sha256(content).hexdigest()}"


def test_a_file_is_downloaded_once(served: tuple[Path, str], light: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = put(served, "face.safetensors", (light / "model.safetensors").read_bytes())
    model = load_model_from(address)
    assert (model.source, model.short_name, model.home) == (address, "face.safetensors", Path())
    assert model.path.parent == downloads()
    assert model.label_set.name == "celebamask-hq"
    (served[0] / "face.safetensors").unlink()
    assert load_model_from(address).path == model.path
    assert kept() == [f"{address.rpartition('=')[2][:16]}-face.safetensors"]
    assert capsys.readouterr() == ("", "")


def test_a_spoilt_copy_is_downloaded_again(served: tuple[Path, str], light: Path) -> None:
    content = (light / "model.safetensors").read_bytes()
    address = put(served, "face.safetensors", content)
    find_model(address).path.write_bytes(b"spoilt")
    assert find_model(address).path.read_bytes() == content


def test_a_file_with_another_hash_is_not_kept(served: tuple[Path, str], light: Path) -> None:
    address = put(served, "face.safetensors", (light / "model.safetensors").read_bytes())
    other = f"{address.partition('#')[0]}#sha256={NO_HASH}"
    with pytest.raises(CheckpointError) as caught:
        find_model(other)
    assert str(caught.value) == f"{other}: the file there has another SHA-256; nothing was kept"
    assert kept() == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<html><body>Sign in", "a web page, not a model; download the file itself"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer, not the model itself; run 'git lfs pull' where it is from",
        ),
    ],
    ids=["page", "pointer"],
)
def test_what_stands_in_a_model_s_place_is_named(served: tuple[Path, str], content: bytes, expected: str) -> None:
    address = put(served, "face.onnx", content)
    with pytest.raises(CheckpointError) as caught:
        find_model(address)
    assert str(caught.value) == f"{address.partition('#')[0]}: {expected}"
    assert kept() == []


def test_a_server_that_is_away_or_lacks_it_is_one_line(served: tuple[Path, str]) -> None:
    for url, reason in ((f"{served[1]}/no.onnx", "404"), ("http://127.0.0.1:9/no.onnx", "Connection")):
        with pytest.raises(CheckpointError) as caught:
            find_model(f"{url}#sha256={NO_HASH}")
        message = str(caught.value)
        assert message.startswith(f"{url}#sha256={NO_HASH}: cannot be downloaded (")
        assert reason in message
        assert "\n" not in message
    assert kept() == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "https://host/face.onnx",
            "add the SHA-256 that the file must have, https://host/face.onnx#sha256=HEX; 'sha256sum FILE' says it",
        ),
        (
            "https://host/face.onnx#sha256=abc",
            "add the SHA-256 that the file must have, https://host/face.onnx#sha256=HEX; 'sha256sum FILE' says it",
        ),
        (f"http://host/face.onnx#sha256={NO_HASH}", "http can be altered on its way; use https://"),
        (
            f"https://host/best.pth#sha256={NO_HASH}",
            "only .safetensors and .onnx files are loaded from elsewhere",
        ),
        (f"https://host/best.pt2#sha256={NO_HASH}", "only .safetensors and .onnx files are loaded from elsewhere"),
    ],
)
def test_what_is_refused_before_anybody_is_asked(source: str, expected: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_model(source)
    assert str(caught.value) == f"{source}: {expected}"


def test_a_cache_that_cannot_be_written_is_one_line(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="^cannot write .*; choose another place$"):
        find_model(put(served, "face.onnx", b"x"))
