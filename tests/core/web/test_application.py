"""Photographs in, parsings out, and everything that is refused."""

import base64
import io
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from faceparse.core.api import FaceParser, Result
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_photograph import decode_image
from faceparse.core.web import application, uploads
from tests.core.web.conftest import HELEN


def encoded(image: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def vast_png(side: int) -> bytes:
    """A PNG whose header promises side x side pixels; there are some kilobytes of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = side.to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def refused(answer: Any, status: int) -> str:
    """The one line of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["error"]
    line: str = answer.json()["error"]
    assert "\n" not in line
    assert "Traceback" not in line
    return line


def ids(answer: dict[str, Any]) -> np.ndarray:
    flat = np.frombuffer(zlib.decompress(base64.b64decode(answer["ids"])), np.uint8)
    return flat.reshape(answer["height"], answer["width"])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_a_photograph_is_answered_with_what_predict_says(
    client: TestClient, parser: FaceParser, face: np.ndarray, kind: str
) -> None:
    data = encoded(face[:120], kind)
    done = client.post("/parse?name=face.jpg", content=data)
    assert done.status_code == 200
    answer = done.json()
    expected = parser.predict(data)
    assert (answer["height"], answer["width"]) == (120, 160)
    assert np.array_equal(ids(answer), expected.labels)
    assert answer["areas"] == expected.areas()
    assert answer["faces"] is None  # this model's training pictures were not aligned
    assert answer["notice"] == ""
    assert len(expected.areas()) > 5
    assert 0 <= answer["milliseconds"] < 60_000
    assert (answer["picture"] is None) == (kind in ("PNG", "JPEG", "BMP"))
    if answer["picture"]:  # what was parsed: browsers may show the file otherwise
        assert np.array_equal(decode_image(base64.b64decode(answer["picture"]), "it"), expected.image)
    with Image.open(io.BytesIO(base64.b64decode(answer["labels"]))) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.array(mask), expected.labels)
        assert np.array_equal(np.array(mask.convert("RGB")), HELEN.palette()[expected.labels])


def test_an_animation_is_said_to_be_one(client: TestClient, face: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "WEBP", save_all=True, append_images=[Image.fromarray(face[::-1].copy())])
    assert client.post("/parse", content=buffer.getvalue()).json()["notice"].startswith("holds 2 pictures")


def test_the_mask_is_the_file_that_a_result_saves(
    client: TestClient, parser: FaceParser, face_png: bytes, tmp_path: Any
) -> None:
    answer = client.post("/parse", content=face_png).json()
    parser.predict(face_png).save(tmp_path / "labels.png")
    assert base64.b64decode(answer["labels"]) == (tmp_path / "labels.png").read_bytes()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photograph_is_parsed_upright(
    client: TestClient, parser: FaceParser, face: np.ndarray, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(face[:100], "JPEG", exif=exif)
    answer = client.post("/parse", content=data).json()
    assert (answer["height"], answer["width"]) == ((100, 160) if orientation == 3 else (160, 100))
    assert np.array_equal(ids(answer), parser.predict(data).labels)


@pytest.mark.parametrize(
    "data",
    [
        b"#!/bin/sh\nrm -rf /\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"BM is how this text begins",
        b"\xff\xd8",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_a_file_is_what_its_content_says(client: TestClient, data: bytes) -> None:
    line = refused(client.post("/parse?name=face.jpg", content=data, headers={"Content-Type": "image/jpeg"}), 415)
    assert line == "face.jpg: not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture; choose another file"


def test_kinds_that_the_project_does_not_read_are_refused(client: TestClient, face: np.ndarray) -> None:
    for kind in ("PCX", "TGA"):
        assert "not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture" in refused(
            client.post("/parse", content=encoded(face, kind)), 415
        )


def test_a_truncated_picture_is_refused(client: TestClient, face: np.ndarray) -> None:
    jpeg, png = encode_jpeg(face), encode_png(face)
    line = refused(client.post("/parse?name=a.jpg", content=jpeg[: len(jpeg) // 2]), 422)
    assert line == "a.jpg: truncated JPEG; replace the file"
    line = refused(client.post("/parse?name=a.png", content=png[: len(png) // 2]), 422)
    assert line == "a.png: truncated or damaged PNG; replace the file"
    assert refused(client.post("/parse", content=b""), 400) == "photograph: empty; choose a photograph"


def test_names_in_errors_are_short_and_of_one_line(client: TestClient) -> None:
    line = refused(client.post("/parse", params={"name": "a\nb" + 999 * "c"}, content=b""), 400)
    assert line == f"a b{197 * 'c'}: empty; choose a photograph"


@pytest.mark.parametrize("side", [12_300, 30_000, 2**31 - 1])
def test_a_vast_picture_costs_neither_memory_nor_time(client: TestClient, side: int) -> None:
    data = vast_png(side)
    client.get("/")
    tracemalloc.start()
    started = time.monotonic()
    line = refused(client.post("/parse?name=vast.png", content=data), 413)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert line == "vast.png: more than 150 megapixels; make it smaller"
    assert peak < 20e6
    assert time.monotonic() - started < 5


def test_a_large_body_is_refused_by_its_announcement(client: TestClient) -> None:
    line = refused(client.post("/parse?name=a.png", content=bytes(uploads.MAX_BYTES + 1)), 413)
    assert line == "a.png: more than 25 MB; make it smaller"


def test_a_body_that_announces_nothing_is_cut_off_where_it_grows_too_large(served: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 400e6:
            sent += 2**20
            yield bytes(2**20)

    with httpx2.Client(timeout=30) as client:
        try:
            answer = client.post(f"{served}/parse", content=endless(), headers={"Origin": served})
            line = refused(answer, 413)
            assert line == "photograph: more than 25 MB; make it smaller"
        except httpx2.NetworkError:  # closed while it was still sending
            assert sent < 400e6
        assert client.get(served).status_code == 200


def connect(served: str, data: bytes) -> socket.socket:
    """Send no more than `data`."""
    name, port = served.removeprefix("http://").split(":")
    connection = socket.create_connection((name, int(port)), timeout=20)
    connection.sendall(data)
    return connection


def request_head(served: str, length: int) -> bytes:
    host = served.removeprefix("http://")
    return f"POST /parse HTTP/1.1\r\nHost: {host}\r\nOrigin: {served}\r\nContent-Length: {length}\r\n\r\n".encode()


def test_a_sender_that_dawdles_loses_its_place(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "READ_SECONDS", 0.2)
    with connect(served, request_head(served, 5000) + b"\xff\xd8") as connection:
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))  # the server hangs up
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"not sent within 0 seconds; try again" in answer


class Held:
    """A model that waits to be let go, and counts how many are in it."""

    def __init__(self, parser: FaceParser) -> None:
        self.predict_ = parser.predict
        self.go = threading.Event()
        self.inside = self.most = self.calls = 0

    def __call__(self, image: np.ndarray) -> Result:
        self.calls += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.go.wait(30)
        self.inside -= 1
        return self.predict_(image)


@pytest.fixture
def held(parser: FaceParser, monkeypatch: pytest.MonkeyPatch) -> Held:
    model = Held(parser)
    monkeypatch.setattr(parser, "predict", model)
    return model


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_at_a_time_few_may_wait_and_the_page_stays_there(held: Held, served: str, face_png: bytes) -> None:
    def post() -> httpx2.Response:
        return httpx2.post(f"{served}/parse", content=face_png, headers={"Origin": served}, timeout=60)

    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(post) for _ in range(application.MAX_WAITING + 4)]
        until(lambda: sum(one.done() for one in waiting) == 4)
        assert httpx2.get(served, timeout=5).status_code == 200
        flooded = [one.result() for one in waiting if one.done()]
        held.go.set()
        done = [one.result() for one in waiting]
    for answer in flooded:
        assert refused(answer, 503) == "8 photographs are waiting already; try again in a moment"
        assert answer.headers["Retry-After"] == "1"
    assert sum(one.status_code == 200 for one in done) == application.MAX_WAITING
    assert held.most == 1
    assert post().status_code == 200


def test_a_client_that_is_gone_costs_no_computing(
    held: Held, served: str, face_png: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = request_head(served, len(face_png)) + face_png
    first = connect(served, whole)
    until(lambda: held.calls == 1)
    connect(served, whole).close()  # waits for its turn, and does not wait to see it
    connect(served, whole[:-500]).close()  # in the middle of its photograph
    first.close()  # while it is computed
    for _ in range(3):  # once these are answered, the server has seen all that came before
        assert httpx2.get(served).status_code == 200
    held.go.set()
    with httpx2.Client() as client:
        assert client.post(f"{served}/parse", content=face_png, headers={"Origin": served}).status_code == 200
    assert held.calls == 2
    assert capfd.readouterr() == ("", "")


def test_a_model_that_fails_is_one_line(
    client: TestClient, parser: FaceParser, face_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: np.ndarray) -> Result:
        raise RuntimeError("CUDA error:\nan illegal memory access")

    with monkeypatch.context() as patch:
        patch.setattr(parser, "predict", fail)
        line = refused(client.post("/parse", content=face_png), 500)
    assert line == "the model failed: RuntimeError: CUDA error: an illegal memory access"
    assert client.post("/parse", content=face_png).status_code == 200


def test_other_places_and_methods_are_answered_in_json(client: TestClient) -> None:
    assert refused(client.get("/missing"), 404) == "Not Found"
    assert refused(client.get("/parse"), 405) == "Method Not Allowed"
    assert json.loads(client.post("/").text) == {"error": "Method Not Allowed"}
    assert client.head("/").status_code == 200
