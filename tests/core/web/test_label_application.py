"""The requests of the page that labels: what is answered, and what is refused."""

import base64
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from faceparse.core.api import FaceParser
from faceparse.core.errors import OutputError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import decode_image, read_image
from faceparse.core.labelling import labelling as labelling_module
from faceparse.core.labelling.labelling import Labelling
from faceparse.core.web import uploads
from faceparse.core.web.label_application import label_application
from faceparse.core.web.label_page import class_key

HERE = "http://127.0.0.1:8420"


@pytest.fixture
def photos(tmp_path: Path, face: np.ndarray) -> Path:
    """Two photographs of 160 x 160 and 160 x 100 pixels, and one that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "anna.png").write_bytes(encode_png(face))
    (folder / "bert.png").write_bytes(encode_png(np.ascontiguousarray(face[:100])))
    (folder / "cleo.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture
def labelling(photos: Path, parser: FaceParser) -> Iterator[Labelling]:
    with Labelling(photos, parser) as labelling:
        yield labelling


@pytest.fixture
def client(labelling: Labelling, parser: FaceParser) -> Iterator[TestClient]:
    """Asks as the page does."""
    with TestClient(label_application(labelling, parser, "best.pth"), HERE, headers={"Origin": HERE}) as client:
        yield client


def keys(client: TestClient) -> dict[str, str]:
    return {one["name"]: one["key"] for one in client.get("/photographs").json()["photographs"]}


def ids(text: str, facts: dict[str, Any]) -> np.ndarray:
    data = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(data, np.uint8).reshape(facts["height"], facts["width"])


def query(facts: dict[str, Any]) -> dict[str, Any]:
    return {"version": facts["version"], "base": facts["base"], "seconds": 3}


def test_a_photograph_is_opened_and_its_label_saved(client: TestClient, parser: FaceParser, photos: Path) -> None:
    key = keys(client)["bert.png"]
    facts = client.get(f"/photographs/{key}").json()
    guess = ids(facts["guess"], facts)
    assert np.array_equal(guess, parser.predict(photos / "bert.png").labels)
    assert facts["label"] is None
    label = guess.copy()
    label[:2, :5] = 255
    answer = client.post(f"/photographs/{key}", params=query(facts), content=zlib.compress(label.tobytes()))
    assert answer.status_code == 200, answer.text
    assert np.array_equal(read_label(photos / "labels" / "bert.png"), label)
    described = next(one for one in client.get("/photographs").json()["photographs"] if one["key"] == key)
    assert described == answer.json()["photograph"]
    assert (described["labelled"], described["corrected"], described["pixels"]) == (True, 10, 16_000)
    again = client.get(f"/photographs/{key}").json()
    assert np.array_equal(ids(again["label"], again), label)
    assert again["base"] == answer.json()["base"] != ""


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_the_picture_is_what_the_model_saw(client: TestClient, photos: Path, face: np.ndarray, kind: str) -> None:
    """Upright, whatever the file's kind."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(face[:100]).save(
        photos / "bert.png", kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})
    )
    answer = client.get(f"/photographs/{keys(client)['bert.png']}/picture")
    shown = decode_image(answer.content, "shown")
    seen = read_image(photos / "bert.png")
    assert shown.shape == seen.shape == (160, 100, 3)
    assert np.abs(shown.astype(int) - seen).mean() < 3


def test_what_cannot_be_read_is_one_line(client: TestClient) -> None:
    key = keys(client)["cleo.jpg"]
    for path in (f"/photographs/{key}", f"/photographs/{key}/picture"):
        answer = client.get(path)
        assert answer.status_code == 422
        assert "cleo.jpg: not a readable picture" in answer.json()["error"]
    described = next(one for one in client.get("/photographs").json()["photographs"] if one["key"] == key)
    assert "cleo.jpg: not a readable picture" in described["problem"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "anna.png", "labels", "0" * 32])
def test_nothing_but_a_key_names_a_photograph(client: TestClient, name: str, photos: Path) -> None:
    before = sorted(photos.parent.rglob("*.txt"))
    for answer in (client.get(f"/photographs/{name}"), client.post(f"/photographs/{name}?seconds=0", content=b"x")):
        assert answer.status_code == 404
    assert sorted(photos.parent.rglob("*.txt")) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:8420", "Origin": "http://evil.example:8420"},
        {"Origin": "http://127.0.0.1:9999"},
    ],
)
def test_another_page_writes_no_label(client: TestClient, photos: Path, headers: dict[str, str]) -> None:
    key = keys(client)["anna.png"]
    facts = client.get(f"/photographs/{key}").json()
    content = zlib.compress(bytes(160 * 160))
    answer = client.post(f"/photographs/{key}", params=query(facts), content=content, headers=headers)
    assert answer.status_code == 403
    assert not list((photos / "labels").iterdir())
    assert not (photos / "labels.csv").exists()


def test_another_page_reads_nothing(client: TestClient) -> None:
    """By a name of its own it is refused; by this server's, the browser keeps the answer from it."""
    key = keys(client)["anna.png"]
    for path in ("/photographs", f"/photographs/{key}", f"/photographs/{key}/picture"):
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
        headers = client.get(path, headers={"Origin": "http://evil.example"}).headers
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("seconds", ["", "-1", "1.5", "٣", "86401", "9" * 30])
def test_seconds_are_a_number(client: TestClient, seconds: str) -> None:
    key = keys(client)["anna.png"]
    facts = client.get(f"/photographs/{key}").json()
    answer = client.post(f"/photographs/{key}", params=query(facts) | {"seconds": seconds}, content=b"x")
    assert (answer.status_code, answer.json()["error"]) == (400, "seconds: a whole number up to 86400")


def test_saves_that_do_not_fit_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    key = keys(client)["anna.png"]
    facts = client.get(f"/photographs/{key}").json()
    blank = zlib.compress(bytes(160 * 160))

    def post(content: bytes = blank, **changes: object) -> Any:
        return client.post(f"/photographs/{key}", params=query(facts) | changes, content=content)

    assert post(zlib.compress(bytes(9))).status_code == 422
    assert post(b"").json() == {"error": "anna.png: empty; choose a photograph"}
    assert post(version="").status_code == 409
    first = post()
    assert first.status_code == 200
    conflict = post(zlib.compress(b"\1" * 160 * 160))
    assert conflict.status_code == 409
    assert conflict.json()["base"] == first.json()["base"]

    def full(path: Path, _data: bytes) -> None:
        raise OutputError(f"cannot write {path}: No space left on device; free space or choose another place")

    with monkeypatch.context() as patch:
        patch.setattr(labelling_module, "write_atomic", full)
        answer = post(base=first.json()["base"])
    assert answer.status_code == 507
    assert answer.json()["error"].endswith("No space left on device; free space or choose another place")
    monkeypatch.setattr(uploads, "MAX_BYTES", 10)
    assert post(base=first.json()["base"]).status_code == 413


def test_a_name_that_is_no_text_is_answered(tmp_path: Path, parser: FaceParser, face_png: bytes) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    try:
        (folder / "\udcff.png").write_bytes(face_png)
    except (OSError, UnicodeError):
        pytest.skip("the file system takes UTF-8 alone")
    with Labelling(folder, parser) as labelling, TestClient(label_application(labelling, parser, "m"), HERE) as client:
        [key] = keys(client).values()
        assert client.get(f"/photographs/{key}").json()["width"] == 160


def test_the_page_names_the_classes_and_their_keys(client: TestClient) -> None:
    page = client.get("/").text
    assert '"key": "i", "name": "ignored"' in page
    assert "best.pth" in page
    given = [class_key(i) for i in range(40)]
    assert given[:11] == [*"0123456789", "q"]
    used = [key for key in given if key]
    assert len(set(used)) == len(used) == 25
    assert not set(used) & set("befghimnpsz")  # the tools' keys
