"""The exported page in a real browser, with the real runtime, against `faceparse.load(model).predict`."""

import base64
import dataclasses
import functools
import http.server
import io
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

import faceparse
from faceparse.core.api import FaceParser, Result
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import FaceparseError
from faceparse.core.export.browser.page_folder import PAGE_MODEL, fill_page
from faceparse.core.export.browser.web_runtime import WebRuntime, find_web_runtime
from faceparse.core.export.export import Exporter, read_exportable
from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import FORMATS, PAGES
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.names.shipped import DEFAULT
from tests.chromium import DESKTOP, PHONE, chromium, needs_chromium

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, expect

pytestmark = needs_chromium

PORTRAITS = Path(__file__).parents[4] / "docs" / "portraits"
SAME = {"browser": 0.99, "browser-fp32": 0.99, "browser-int8": 0.95}
"""Least share of pixels with Python's class. Processors differ in int8: some let sums of products saturate."""
SLOWLY = 120_000
"""Milliseconds. A laden machine takes its time."""


@pytest.fixture(scope="module")
def runtime() -> WebRuntime:
    """npm's, from its cache or the network."""
    try:
        return find_web_runtime()
    except FaceparseError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pages(runtime: WebRuntime, faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the model that comes with faceparse. Not to be written to."""
    folder = tmp_path_factory.mktemp("pages")
    checkpoint = read_exportable(DEFAULT)
    data = checkpoint.settings.data.model_copy(update={"root": faces})  # for the ranges of int8
    settings = checkpoint.settings.model_copy(update={"data": data})
    exporter = Exporter(dataclasses.replace(checkpoint, settings=settings))
    for name in PAGES:
        exporter.export_page(name, folder / name, runtime)
    return folder


@pytest.fixture(scope="module")
def parser(pages: Path) -> FaceParser:
    """ONNX Runtime in Python, in float32."""
    return faceparse.load(pages / "browser-fp32" / PAGE_MODEL)


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    """What the camera shows all the time, 480 x 640."""
    portrait = cv2.resize(read_image(PORTRAITS / "eileen-collins.jpg"), (480, 480))
    return cv2.copyMakeBorder(portrait, 0, 0, 80, 80, cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def browser(film: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    file = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    file.write_bytes(encode_jpeg(film) * 10)
    with chromium(f"--use-file-for-fake-video-capture={file}") as browser:
        yield browser


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path, handler: type[_Quiet] = _Quiet) -> Iterator[str]:
    """As `python -m http.server` serves a folder: the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """A folder's page in a window of its own, which asks nobody but its host."""
    asked: list[tuple[str, str]] = []
    closing = []

    def open_(folder: Path, *, script: str = "", **options: object) -> Page:
        server = serving(folder)
        address = server.__enter__()
        context = browser.new_context(**{"viewport": DESKTOP, **options})
        closing.append(lambda: (context.close(), server.__exit__(None, None, None)))
        context.add_init_script(script)
        page = context.new_page()
        page.on("request", lambda request: asked.append((address, request.url)))
        page.set_default_timeout(SLOWLY)
        page.goto(address)
        return page

    yield open_
    for close in closing:
        close()
    assert asked
    assert not [url for address, url in asked if not url.startswith((f"{address}/", "data:", f"blob:{address}/"))]


def wait(page: Page, status: str) -> None:
    """Until all is parsed, and the last photograph's line begins so."""
    expect(page.locator("#busy")).to_be_hidden(timeout=SLOWLY)
    expect(page.locator("#problems li")).to_have_count(0)
    expect(page.locator("#status")).to_have_text(re.compile(f"^{status}.*parsed in [0-9]+ ms$"), timeout=SLOWLY)


def parse(page: Page, name: str, data: bytes, status: str = "") -> np.ndarray:
    """Labels of a picture, as the page saves them."""
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    page.locator("#files").set_input_files([file])
    wait(page, status or name)
    with page.expect_download() as started:
        page.get_by_role("button", name="Mask", exact=True).click()
    with Image.open(started.value.path()) as saved:
        assert saved.mode == "P"
        return np.asarray(saved)


def agree(labels: np.ndarray, expected: Result, least: float = 0.99) -> None:
    assert labels.shape == expected.labels.shape
    assert (labels == expected.labels).mean() >= least


def faces_line(result: Result) -> str:
    count = len(result.faces or ())
    return {0: "no face found, ", 1: "1 face, "}.get(count, f"{count} faces, ")


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """Three faces of several sizes, two of them turned, 400 x 640."""
    picture = np.full((400, 640, 3), (90, 110, 130), np.uint8)
    places = [
        ("grace-hopper", 12, 0.36, 150, 200),
        ("eileen-collins", -15, 0.45, 410, 240),
        ("grace-hopper", 0, 0.2, 585, 80),
    ]
    for name, angle, zoom, x, y in places:
        portrait = read_image(PORTRAITS / f"{name}.jpg")
        height, width = portrait.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, zoom)
        matrix[:, 2] += (x - width / 2, y - height / 2)
        there = cv2.warpAffine(np.ones((height, width), np.uint8), matrix, (640, 400), flags=cv2.INTER_NEAREST)
        np.copyto(picture, cv2.warpAffine(portrait, matrix, (640, 400)), where=there[..., None] != 0)
    return picture


@pytest.mark.parametrize("name", PAGES)
def test_photographs_have_the_labels_of_predict(
    open_page: OpenPage, pages: Path, parser: FaceParser, crowd: np.ndarray, name: str
) -> None:
    """Float16 is compared with float32, int8 with itself."""
    if name == "browser-int8":
        parser = faceparse.load(pages / name / PAGE_MODEL)
    page = open_page(pages / name)
    expect(page.locator("#status")).to_have_text("The model is ready.", timeout=SLOWLY)
    for portrait in sorted(PORTRAITS.glob("*.jpg")):
        expected = parser.predict(portrait)
        agree(parse(page, portrait.name, portrait.read_bytes(), f"{portrait.name}: .* 1 face, "), expected, SAME[name])
    expected = parser.predict(crowd)
    assert len(expected.faces or ()) == 3
    agree(parse(page, "crowd.png", encode_png(crowd), "crowd.png: 640 x 400, 3 faces, "), expected, SAME[name])
    for seed in (1, 2, 3):
        drawn = draw_face(np.random.default_rng(seed), 240).image
        expected = parser.predict(drawn)
        agree(
            parse(page, "drawn.png", encode_png(drawn), f"drawn.png: 240 x 240, {faces_line(expected)}"),
            expected,
            SAME[name],
        )
    expect(page.get_by_text("Terms of the model: CelebAMask-HQ is for non-commercial research only.")).to_be_visible()


def test_the_network_in_pytorch_agrees(open_page: OpenPage, pages: Path) -> None:
    """On the same photograph, up to what the exported file's search differs in."""
    portrait = PORTRAITS / "eileen-collins.jpg"
    page = open_page(pages / "browser")
    agree(parse(page, portrait.name, portrait.read_bytes()), faceparse.load(device="cpu").predict(portrait))


def test_turned_and_transparent_pictures_are_as_predict_sees_them(
    open_page: OpenPage, pages: Path, parser: FaceParser
) -> None:
    page = open_page(pages / "browser-fp32")
    portrait = read_image(PORTRAITS / "eileen-collins.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(portrait[:400]).copy()).save(buffer, "JPEG", quality=95, exif=exif)
    expected = parser.predict(buffer.getvalue())
    assert expected.labels.shape == (400, 512)
    agree(parse(page, "turned.jpg", buffer.getvalue(), "turned.jpg: 512 x 400, 1 face, "), expected)

    alpha = np.full((*portrait.shape[:2], 1), 255, np.uint8)
    alpha[:, :200], alpha[:, 200:220] = 0, 128
    clear = encode_png(np.concatenate([portrait, alpha], axis=2))
    labels = parse(page, "clear.png", clear)
    assert not labels[:, :200].any()
    agree(labels, parser.predict(clear))


def test_a_picture_without_a_face_is_said_to_have_none(open_page: OpenPage, pages: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)
    page = open_page(pages / "browser-fp32")
    assert not parse(page, "noise.png", encode_png(noise), "noise.png: 200 x 120, no face found, ").any()


def test_a_network_of_one_size_searches_by_windows(
    open_page: OpenPage, pages: Path, runtime: WebRuntime, crowd: np.ndarray, tmp_path: Path
) -> None:
    network = onnx.load(pages / "browser-fp32" / PAGE_MODEL)
    for entry in network.metadata_props:
        entry.value = "fixed" if entry.key == "sizes" else entry.value
    onnx.save(network, tmp_path / PAGE_MODEL)
    fill_page(tmp_path, read_exported(tmp_path / PAGE_MODEL, FORMATS["onnx"]), "fixed", runtime)
    expected = faceparse.load(tmp_path / PAGE_MODEL).predict(crowd)
    assert expected.faces
    line = f"crowd.png: 640 x 400, {faces_line(expected)}"
    agree(parse(open_page(tmp_path), "crowd.png", encode_png(crowd), line), expected)


def test_a_model_without_geometry_parses_whole_pictures(
    open_page: OpenPage, bundle: Path, runtime: WebRuntime, tmp_path: Path
) -> None:
    shutil.copy(bundle / "model.onnx", tmp_path / PAGE_MODEL)
    model = dataclasses.replace(read_exported(tmp_path / PAGE_MODEL, FORMATS["onnx"]), geometry=None)
    fill_page(tmp_path, model, "best.pth", runtime)
    drawn = draw_face(np.random.default_rng(5), 150).image[:, :100]
    expected = faceparse.load(bundle).predict(drawn, faces="none")
    page = open_page(tmp_path)
    agree(parse(page, "drawn.png", encode_png(drawn), "drawn.png: 100 x 150, (?=parsed)"), expected)


# ------------------------------------------------------------------------------------------------------- privacy


class _Elsewhere(_Quiet):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()


def test_neither_page_nor_worker_reaches_another_host(open_page: OpenPage, pages: Path, tmp_path: Path) -> None:
    page = open_page(pages / "browser")
    expect(page.locator("#status")).to_have_text("The model is ready.", timeout=SLOWLY)
    (worker,) = page.workers
    with serving(tmp_path, _Elsewhere) as elsewhere:
        attempt = f"fetch('{elsewhere}/secret', {{ mode: 'no-cors' }}).then(() => 'reached', () => 'refused')"
        assert page.evaluate(attempt) == "refused"
        assert worker.evaluate(attempt) == "refused"
        assert (
            worker.evaluate("fetch(new URL('/model.json', location.origin)).then(() => 'reached', String)") == "reached"
        )
    assert _Elsewhere.asked == []


# -------------------------------------------------------------------------------------------------------- errors


def copied(pages: Path, folder: Path) -> Path:
    shutil.copytree(pages / "browser", folder / "copy")
    return folder / "copy"


def test_what_cannot_be_parsed_is_a_line_on_the_page(open_page: OpenPage, pages: Path) -> None:
    page = open_page(pages / "browser")
    problems = page.locator("#problems li")
    page.locator("#files").set_input_files([{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"#!/bin/sh"}])
    expect(problems).to_have_text(["a.jpg: not a picture that this browser reads; choose a JPEG or PNG"])
    expect(page.locator("#result")).to_be_hidden()
    portrait = PORTRAITS / "eileen-collins.jpg"
    parse(page, portrait.name, portrait.read_bytes())  # it goes on


def test_a_model_that_is_missing_or_damaged_is_said(open_page: OpenPage, pages: Path, tmp_path: Path) -> None:
    folder = copied(pages, tmp_path)
    (folder / PAGE_MODEL).unlink()
    page = open_page(folder)
    expect(page.locator("#problems li")).to_have_text(["model.onnx: cannot be fetched (404)"], timeout=SLOWLY)
    (folder / PAGE_MODEL).write_bytes(b"garbage")
    page = open_page(folder)
    expect(page.locator("#problems li")).to_have_text(
        re.compile(r"^model\.onnx: cannot be loaded \(.+\)$"), timeout=SLOWLY
    )


def test_an_incomplete_folder_is_said(open_page: OpenPage, pages: Path, tmp_path: Path) -> None:
    folder = copied(pages, tmp_path)
    (folder / "finder.js").unlink()
    line = "worker.js: cannot be loaded; is the folder complete, and served over http?"
    expect(open_page(folder).locator("#problems li")).to_have_text([line], timeout=SLOWLY)


def test_a_browser_without_webassembly_is_said(open_page: OpenPage, pages: Path) -> None:
    page = open_page(pages / "browser", script="delete globalThis.WebAssembly")
    line = "this browser has no WebAssembly or it is switched off; take another one"
    expect(page.locator("#problems li")).to_have_text([line])


# -------------------------------------------------------------------------------------------------------- camera


def test_the_camera_is_parsed_live(open_page: OpenPage, pages: Path, film: np.ndarray) -> None:
    page = open_page(pages / "browser")
    page.get_by_role("button", name="Use the camera").click()
    rate = page.locator("#rate")
    expect(rate).to_have_text(re.compile(r"^1 face, [0-9.]+ frames a second$"), timeout=SLOWLY)
    expect(page.locator("#live")).to_be_visible()
    picture = page.evaluate("document.getElementById('live').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))) as shot:
        painted = np.asarray(shot.convert("RGB"))
    assert painted.shape == (480, 640, 3)
    expected = faceparse.load(pages / "browser" / PAGE_MODEL).predict(film)
    close = np.abs(painted.astype(int) - expected.overlay()).max(axis=2) < 40  # it was a JPEG in between
    assert close[expected.labels > 0].mean() > 0.9
    assert close.mean() > 0.95
    assert (np.abs(film.astype(int) - expected.overlay()).max(axis=2) < 40)[expected.labels > 0].mean() < 0.6
    page.get_by_label("Parse the film").uncheck()
    expect(page.locator("#live")).to_be_hidden()
    page.get_by_label("Parse the film").check()
    expect(rate).to_have_text(re.compile(r"^1 face, "), timeout=SLOWLY)
    page.get_by_role("button", name="Take the photograph").click()
    wait(page, "camera .*, 1 face, ")
    assert page.evaluate("document.querySelector('video').srcObject.active") is False


# --------------------------------------------------------------------------------------------------------- looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(open_page: OpenPage, pages: Path, scheme: str) -> None:
    page = open_page(pages / "browser", viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    portrait = PORTRAITS / "eileen-collins.jpg"
    parse(page, portrait.name, portrait.read_bytes())
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("button", name="Use the camera").tap()
    expect(page.locator("#rate")).to_have_text(re.compile("frames a second$"), timeout=SLOWLY)
    box = page.locator("#camera").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    for control in [*page.locator("#camera button").all(), page.locator("#camera label")]:
        size = control.bounding_box()
        assert size is not None
        assert size["height"] >= 40
    page.keyboard.press("Escape")
    expect(page.locator("#camera")).to_be_hidden()
