import hashlib
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torchvision import models

from faceparse.core.errors import CheckpointError
from faceparse.core.model import imagenet as imagenet_module
from faceparse.core.model.build import build_model
from faceparse.core.model.imagenet import MIB, imagenet_file
from faceparse.core.parser.initialise import initialise
from faceparse.core.settings import ModelSettings

T = TypeVar("T")

CONTENT = bytes(range(256)) * (10 * 1024) + b"end"
"""Two and a half MiB and a bit: three pieces."""


def name_of(content: bytes) -> str:
    return f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def look_for(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url)


Serve = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(serve: Serve) -> Iterator[str]:
    """The address of a server on this machine that answers each GET by `serve`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(self)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def give(handler: BaseHTTPRequestHandler, content: bytes = CONTENT) -> None:
    """Announce `CONTENT`, and send `content`."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(content)


# Without a network


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("resnet18", "resnet18-f37072fd.pth"),
        ("resnet34", "resnet34-b627a593.pth"),
        ("resnet50", "resnet50-0676ba61.pth"),
        ("resnet101", "resnet101-63fe2227.pth"),
    ],
)
def test_what_is_missing_is_named_with_the_place_for_it(offline: Path, backbone: str, name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        imagenet_file(backbone)
    assert str(caught.value) == (
        f"{name} is not in {offline}, and https://download.pytorch.org/models/{name} cannot be had "
        "([Errno 111] Connection refused); put the file there, or set model.pretrained to a weights file or none"
    )
    assert not offline.exists()


def test_the_place_is_torch_hubs_own(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match=f" is not in {tmp_path}/cache/torch/hub/checkpoints, "):
        imagenet_file("resnet18")


def nothing(handler: BaseHTTPRequestHandler, released: threading.Event) -> None:
    released.wait(20)


def half(handler: BaseHTTPRequestHandler, released: threading.Event) -> None:
    give(handler, CONTENT[: len(CONTENT) // 2])
    handler.wfile.flush()
    released.wait(20)


@pytest.mark.parametrize("behaviour", [nothing, half])
def test_a_silent_server_is_waited_for_a_moment_only(
    offline: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Callable[[BaseHTTPRequestHandler, threading.Event], None],
) -> None:
    monkeypatch.setattr(imagenet_module, "TIMEOUT", 0.5)
    released = threading.Event()
    with server(lambda handler: behaviour(handler, released)) as address:
        look_for(monkeypatch, f"{address}/{name_of(CONTENT)}")
        started = time.monotonic()
        with pytest.raises(CheckpointError, match=r" cannot be had \((no answer within 0.5 s|timed out)\); put "):
            imagenet_file("resnet18")
        assert time.monotonic() - started < 5
        released.set()
    assert not offline.exists()


def test_a_name_that_is_looked_up_for_ever_is_waited_for_a_moment_only(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(imagenet_module, "TIMEOUT", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20) and [])
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r" cannot be had \(no answer within 0.5 s\); put "):
        imagenet_file("resnet18")
    assert time.monotonic() - started < 5
    released.set()


# With one


def test_it_is_downloaded_once_with_its_progress_shown(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracked: list[tuple[int, int, str]] = []

    def track(items: Iterable[T], total: int, what: str, /) -> Iterable[T]:
        pieces = list(items)
        tracked.append((len(pieces), total, what))
        return pieces

    name = name_of(CONTENT)
    with server(give) as address:
        look_for(monkeypatch, f"{address}/models/{name}")
        path = imagenet_file("resnet18", track)
    assert path == offline / name
    assert path.read_bytes() == CONTENT
    assert imagenet_file("resnet18", track) == path  # the server is gone
    assert tracked == [(3, 3, f"{name} (MiB)")]
    assert 2 * MIB < len(CONTENT) < 3 * MIB
    assert list(offline.iterdir()) == [path]


def refuse(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def cut(handler: BaseHTTPRequestHandler) -> None:
    give(handler, CONTENT[:-1])


def alter(handler: BaseHTTPRequestHandler) -> None:
    give(handler, CONTENT[:-1] + b"D")


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        (refuse, " cannot be had (Not Found); put the file there, or set model.pretrained to a weights file or none"),
        (cut, ": cut short or altered on its way (another SHA-256); try again"),
        (alter, ": cut short or altered on its way (another SHA-256); try again"),
    ],
)
def test_what_is_not_torchvisions_file_never_enters_the_cache(
    offline: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, expected: str
) -> None:
    with server(serve) as address:
        look_for(monkeypatch, f"{address}/{name_of(CONTENT)}")
        with pytest.raises(CheckpointError) as caught:
            imagenet_file("resnet18")
    assert str(caught.value).endswith(f"{address}/{name_of(CONTENT)}{expected}")
    assert not offline.exists()


# What lies in the cache


@pytest.mark.parametrize("norm", ["torch", "auto"])
def test_it_fills_the_backbone_with_torchvisions_stem(imagenet: Path, norm: str) -> None:
    assert imagenet_file("resnet18") == imagenet
    model = build_model(ModelSettings(backbone="resnet18", stem="torchvision", norm=norm), 3)  # type: ignore[arg-type]
    report = initialise(model, imagenet, "resnet18")
    state, source = model.backbone.state_dict(), torch.load(imagenet, weights_only=True)
    assert str(report) == (
        f"ResNet backbone with a 7x7 stem: {len(state)} tensors loaded, 2 of the file not used (fc.weight, fc.bias)"
    )
    assert torch.equal(state["stem.0.conv.weight"], source["conv1.weight"])
    assert torch.equal(state["stages.3.1.body.1.conv.weight"], source["layer4.1.conv2.weight"])


def test_with_the_deep_stem_the_report_names_what_stays_random(imagenet: Path) -> None:
    model = build_model(ModelSettings(backbone="resnet18", stem="deep"), 3)
    before = model.backbone.state_dict()["stem.0.conv.weight"].clone()
    report = initialise(model, imagenet_file("resnet18"), "resnet18")
    assert torch.equal(model.backbone.state_dict()["stem.0.conv.weight"], before)
    assert "left at random (stem.0.conv.weight, stem.0.norm.weight, " in str(report)
    assert report.unused == (
        *("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"),
        *("layer1.0.conv1.weight", "fc.weight", "fc.bias"),
    )


def test_a_file_put_there_by_hand_must_be_the_right_one(imagenet: Path) -> None:
    content = bytearray(imagenet.read_bytes())
    content[-1] ^= 1
    imagenet.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        imagenet_file("resnet18")
    url = f"https://download.pytorch.org/models/{imagenet.name}"
    assert str(caught.value) == (
        f"{imagenet}: not the file of {url} (another SHA-256); remove it, and it is downloaded again"
    )


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_code_in_it_is_not_run(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps({"conv1.weight": RunsCode(tmp_path / "marker")})
    look_for(monkeypatch, f"https://download.pytorch.org/models/{name_of(content)}")
    offline.mkdir(parents=True)
    (offline / name_of(content)).write_bytes(content)
    model = build_model(ModelSettings(backbone="resnet18"), 3)
    with pytest.raises(CheckpointError):
        initialise(model, imagenet_file("resnet18"), "resnet18")
    assert not (tmp_path / "marker").exists()
    pickle.loads(content)  # the trap is a real one
    assert (tmp_path / "marker").exists()
