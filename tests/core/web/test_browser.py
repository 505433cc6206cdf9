"""The page as people meet it, in a real browser."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.api import FaceParser
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.overlay import overlay
from faceparse.core.images.read_label import read_label
from tests.chromium import DESKTOP, PHONE, chromium, needs_chromium
from tests.core.web.conftest import HELEN

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Download, Page, expect

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, served: str) -> Iterator[OpenPage]:
    """The page in a window of its own, which asks nobody but its server and has nothing to complain of."""
    asked: list[str] = []
    complaints: list[str] = []
    contexts = []

    def open_(**options: object) -> Page:
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.goto(served)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert asked
    assert not [url for url in asked if not url.startswith((f"{served}/", "data:", "blob:"))]
    refused = "Failed to load resource: "  # which the page says, too
    assert not [line for line in complaints if not line.startswith(refused)]


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page()


def picture(name: str, data: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def choose(page: Page, *files: dict[str, object]) -> None:
    page.locator("#files").set_input_files(list(files))


def wait(page: Page, status: str) -> None:
    """Until all is parsed, and the last photograph's line begins so."""
    expect(page.locator("#busy")).to_be_hidden(timeout=20_000)
    expect(page.locator("#status")).to_have_text(re.compile(f"^{status}.*, parsed in [0-9]+ ms$"))


def canvas(page: Page) -> np.ndarray:
    """H x W x 3 of what is drawn."""
    data = page.evaluate("document.getElementById('picture').toDataURL('image/png').split(',')[1]")
    with Image.open(io.BytesIO(base64.b64decode(data))) as drawn:
        return np.asarray(drawn.convert("RGB"))


def differ(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def slide(page: Page, percent: int) -> None:
    page.locator("#opacity").fill(str(percent))
    expect(page.locator("#percent")).to_have_text(f"{percent} %")


def download(page: Page, button: str) -> Download:
    with page.expect_download() as started:
        page.get_by_role("button", name=button, exact=True).click()
    return started.value


def content(page: Page, button: str, name: str) -> bytes:
    done = download(page, button)
    assert done.suggested_filename == name
    return Path(done.path()).read_bytes()


def test_a_photograph_is_chosen_seen_and_downloaded(
    page: Page, parser: FaceParser, face: np.ndarray, face_png: bytes, tmp_path: Path
) -> None:
    expected = parser.predict(face)
    choose(page, picture("face.png", face_png))
    wait(page, "face.png: 160 x 160")
    assert differ(canvas(page), expected.overlay(opacity=0.55)) <= 2
    for percent in (0, 30, 100):
        slide(page, percent)
        assert differ(canvas(page), expected.overlay(opacity=percent / 100)) <= 2
    for name, pixels in expected.areas().items():
        row = page.locator("#legend button", has=page.get_by_text(name, exact=True))
        share = 100 * pixels / expected.labels.size
        expect(row.locator(".share")).to_have_text(f"{share:.1f} %" if share >= 0.1 else "< 0.1 %")

    mask = content(page, "Mask", "face-labels.png")
    expected.save(tmp_path / "expected.png")
    assert mask == (tmp_path / "expected.png").read_bytes()
    (tmp_path / "mask.png").write_bytes(mask)
    assert np.array_equal(read_label(tmp_path / "mask.png"), expected.labels)

    slide(page, 40)
    with Image.open(io.BytesIO(content(page, "Overlay", "face-overlay.jpg"))) as saved:
        again = Image.open(io.BytesIO(encode_jpeg(expected.overlay(opacity=0.4))))
        assert np.abs(np.asarray(saved, int) - np.asarray(again, int)).mean() < 2
    with Image.open(io.BytesIO(content(page, "Cut-out", "face-cutout.png"))) as saved:
        assert np.array_equal(np.asarray(saved), expected.cut_out())
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_classes_are_switched_off_and_on(page: Page, parser: FaceParser, face: np.ndarray, face_png: bytes) -> None:
    expected = parser.predict(face)
    present = max(range(1, 11), key=lambda i: (expected.labels == i).sum())
    name = HELEN.names[present]
    choose(page, picture("face.png", face_png))
    wait(page, "face.png")
    slide(page, 100)
    row = page.locator("#legend button", has=page.get_by_text(name, exact=True))
    expect(row).to_have_attribute("aria-pressed", "true")
    row.focus()
    page.keyboard.press("Enter")
    expect(row).to_have_attribute("aria-pressed", "false")
    without = np.where(expected.labels == present, 0, expected.labels).astype(np.uint8)
    assert differ(canvas(page), overlay(face, without, HELEN.palette(), opacity=1)) <= 2
    page.get_by_role("button", name="None").click()
    assert differ(canvas(page), face) == 0
    row.click()
    with Image.open(io.BytesIO(content(page, "Cut-out", "face-cutout.png"))) as saved:
        assert np.array_equal(np.asarray(saved), expected.cut_out(name))
    page.mouse.move(5, 5)
    page.get_by_role("button", name="All").click()
    assert differ(canvas(page), expected.overlay(opacity=1)) <= 2
    row.hover()  # the others step back
    faded = canvas(page)
    this, others = expected.labels == present, (expected.labels != present) & (expected.labels > 0)
    assert differ(faded[this], HELEN.palette()[expected.labels[this]]) <= 2
    paler = 0.2 * HELEN.palette()[expected.labels[others]] + 0.8 * face[others]
    assert differ(faded[others], paler) <= 3


def test_the_class_under_the_pointer_is_named(
    page: Page, parser: FaceParser, face: np.ndarray, face_png: bytes
) -> None:
    labels = parser.predict(face).labels
    choose(page, picture("face.png", face_png))
    wait(page, "face.png")
    box = page.locator("#picture").bounding_box()
    assert box is not None
    for y, x in [(20, 20), (80, 80), (120, 70), (150, 10)]:
        page.mouse.move(box["x"] + (x + 0.5) * box["width"] / 160, box["y"] + (y + 0.5) * box["height"] / 160)
        expect(page.locator("#tip")).to_be_visible()
        expect(page.locator("#tip")).to_have_text(HELEN.names[labels[y, x]])
        expect(page.locator("#legend .under .name")).to_have_text(HELEN.names[labels[y, x]])
    page.mouse.move(2, 2)
    expect(page.locator("#tip")).to_be_hidden()


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_photographs_are_dropped_and_pasted(page: Page, parser: FaceParser, face: np.ndarray, event: str) -> None:
    """Several in a row, and each can be gone back to."""
    flipped = np.ascontiguousarray(face[:100, ::-1])
    send = """([event, files]) => {
      const data = new DataTransfer();
      for (const [name, content] of files)
        data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
      if (event === "paste") return document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
      for (const type of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
    }"""
    files = [
        [name, base64.b64encode(encode_png(one)).decode()] for name, one in {"a.png": face, "b.png": flipped}.items()
    ]
    page.evaluate(send, [event, files])
    wait(page, "b.png: 160 x 100")
    expect(page.locator("#drop")).to_be_hidden()
    assert differ(canvas(page), parser.predict(flipped).overlay()) <= 2
    page.get_by_role("button", name="Show a.png").click()
    expect(page.locator("#status")).to_contain_text("a.png: 160 x 160")
    assert differ(canvas(page), parser.predict(face).overlay()) <= 2


def test_what_is_refused_is_a_line_on_the_page(page: Page, face: np.ndarray, face_png: bytes, tmp_path: Path) -> None:
    jpeg = encode_jpeg(face)
    choose(page, picture("face.jpg", b"#!/bin/sh\necho hello\n"))
    problems = page.locator("#problems li")
    expect(problems).to_have_text(
        ["face.jpg: not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture; choose another file"]
    )
    expect(page.locator("#result")).to_be_hidden()
    choose(page, picture("good.png", face_png), picture("half.jpg", jpeg[: len(jpeg) // 2]), picture("none.png", b""))
    expect(problems).to_have_text(
        ["half.jpg: truncated JPEG; replace the file", "none.png: empty; choose a photograph"]
    )
    wait(page, "good.png")
    (tmp_path / "vast.png").write_bytes(bytes(25_000_001))
    page.locator("#files").set_input_files(tmp_path / "vast.png")
    expect(problems).to_have_text(["vast.png: more than 25 MB; make it smaller"])
    choose(page, picture("good.png", face_png))
    wait(page, "good.png")
    expect(problems).to_have_count(0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_photograph_lies_under_its_parsing(
    page: Page, parser: FaceParser, face: np.ndarray, kind: str, orientation: int
) -> None:
    """The browser turns it as the model saw it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(face[:100]).save(buffer, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    choose(page, picture("turned", buffer.getvalue()))
    wait(page, "turned")
    assert differ(canvas(page), parser.predict(buffer.getvalue()).overlay()) <= (12 if kind == "JPEG" else 2)


def test_a_large_photograph_is_drawn_small_and_saved_large(page: Page, parser: FaceParser) -> None:
    ramp = np.tile(np.linspace(0, 255, 3000).astype(np.uint8), (1500, 1))[..., None].repeat(3, axis=2)
    expected = parser.predict(ramp)
    choose(page, picture("large.png", encode_png(ramp)))
    wait(page, "large.png: 3000 x 1500")
    drawn = canvas(page)
    assert drawn.shape == (1024, 2048, 3)
    with Image.open(io.BytesIO(content(page, "Mask", "large-labels.png"))) as mask:
        assert np.array_equal(np.asarray(mask), expected.labels)
    with Image.open(io.BytesIO(content(page, "Cut-out", "large-cutout.png"))) as saved:
        assert np.array_equal(np.asarray(saved), expected.cut_out())


def test_the_camera_is_a_photograph_too(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#camera")).to_be_visible()
    expect(page.locator("video")).to_have_js_property("readyState", 4)
    page.get_by_role("button", name="Take the photograph").click()
    wait(page, "camera ")
    expect(page.locator("#camera")).to_be_hidden()
    assert page.evaluate("document.querySelector('video').srcObject.active") is False


def test_a_server_that_is_gone_is_said(page: Page, face_png: bytes) -> None:
    page.route("**/parse*", lambda route: route.abort())
    choose(page, picture("face.png", face_png))
    expect(page.locator("#problems li")).to_have_text(
        ["face.png: the server does not answer; is 'faceparse web' still running?"]
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_page: OpenPage, face_png: bytes, scheme: str, tmp_path: Path) -> None:
    page = open_page(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True, reduced_motion="reduce")
    choose(page, picture("face.png", face_png))
    wait(page, "face.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    box = page.locator("#picture").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= PHONE["width"]
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#tip")).to_have_text(re.compile("|".join(HELEN.names)))
    for button in page.get_by_role("button").all():
        size = button.bounding_box()
        assert size is not None
        assert size["height"] >= 40
    page.screenshot(path=tmp_path / f"phone-{scheme}.png", full_page=True)
