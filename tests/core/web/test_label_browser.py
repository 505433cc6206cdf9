"""The page that labels, in a real browser."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceparse.core.api import FaceParser
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labelling.labelling import Labelling
from faceparse.core.labelling.record import read_record
from faceparse.core.web.label_application import label_application
from faceparse.core.web.server import listen, server, url
from tests.chromium import DESKTOP, PHONE, chromium, needs_chromium

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, expect

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(["anna", "bert", "cleo"]):
        face = draw_face(np.random.default_rng(seed), 160).image
        (folder / f"{name}.png").write_bytes(encode_png(np.ascontiguousarray(face[:120])))
    return folder


class Served:
    """A server that can be stopped, and started again on the same port."""

    def __init__(self, photos: Path, parser: FaceParser) -> None:
        self.photos, self.parser = photos, parser
        self.port = 0
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        with listen(self.port) as listening, Labelling(self.photos, self.parser) as labelling:
            self.port, self.url = listening.getsockname()[1], url(listening)
            web = server(label_application(labelling, self.parser, "best.pth"))
            thread = threading.Thread(target=web.run, args=([listening],))
            thread.start()
            try:
                yield
            finally:
                web.should_exit = True
                thread.join(timeout=30)
                assert not thread.is_alive()


@pytest.fixture
def served(photos: Path, parser: FaceParser) -> Served:
    return Served(photos, parser)


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, served: Served) -> Iterator[OpenPage]:
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
        page.goto(served.url)
        expect(page.locator("#save")).to_be_enabled(timeout=20_000)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert asked
    assert not [one for one in asked if not one.startswith((f"{served.url}/", "data:", "blob:"))]
    assert not [line for line in complaints if not line.startswith("Failed to load resource: ")]


@pytest.fixture
def page(open_page: OpenPage, served: Served) -> Iterator[Page]:
    """The page, which has opened the photograph that is labelled first."""
    with served.running():
        yield open_page()


def ids(page: Page) -> np.ndarray:
    """H x W: the label in work."""
    width, height = page.evaluate("[opened.labels.width, opened.labels.height]")
    return np.array(page.evaluate("[...opened.labels.ids]"), np.uint8).reshape(height, width)


def at(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the photograph is on the screen."""
    box = page.locator("#picture").bounding_box()
    assert box is not None
    left, top, scale = page.evaluate("[view.left, view.top, view.scale]")
    return box["x"] + left + x * scale, box["y"] + top + y * scale


def drag(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=5)
    page.mouse.up()


def name(page: Page) -> str:
    found: str = page.evaluate("opened.entry.name")
    return found


def pick(page: Page, name: str) -> None:
    """Choose a photograph from the list."""
    key = page.evaluate("(name) => photographs.find((one) => one.name === name).key", name)
    page.locator("#photographs").select_option(key)


def saved(page: Page, served: Served) -> np.ndarray:
    return read_label(served.photos / "labels" / f"{Path(name(page)).stem}.png")


def size(page: Page, diameter: int) -> None:
    page.evaluate("(diameter) => resize(diameter)", diameter)


def capsule(shape: tuple[int, int], a: tuple[float, float], b: tuple[float, float], diameter: float) -> np.ndarray:
    """Pixels whose centres lie within half a diameter of a line."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    d = np.subtract(b, a)
    along = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(d @ d, 1e-9), 0, 1)
    return np.hypot(x - a[0] - along * d[0], y - a[1] - along * d[1]) <= diameter / 2


def test_the_most_uncertain_comes_first_with_its_guess(page: Page, served: Served) -> None:
    guess = read_label(served.photos / "guesses" / f"{Path(name(page)).stem}.png")
    assert np.array_equal(ids(page), guess)
    for _ in range(2):
        page.keyboard.press("n")
        expect(page.locator("#status")).to_contain_text("0 pixels corrected")
        expect(page.locator("#save")).to_be_enabled()
    page.keyboard.press("n")
    expect(page.locator("#progress")).to_contain_text("3 of 3 labelled, 0 pixels corrected (0.0 %)")
    order = [option.split(":")[0] for option in page.locator("#photographs option").all_inner_texts()]
    assert order == ["anna.png", "bert.png", "cleo.png"]
    expect(page.locator("#status")).to_have_text("All photographs are labelled")
    assert len(list((served.photos / "labels").iterdir())) == 3
    page.reload()  # one is opened all the same
    expect(page.locator("#save")).to_be_enabled()
    assert name(page) == "anna.png"


def test_the_next_one_is_the_most_uncertain(open_page: OpenPage, served: Served, parser: FaceParser) -> None:
    uncertain = {path.name: parser.predict(path).uncertainty for path in served.photos.iterdir()}
    expected = sorted(uncertain, key=lambda one: -uncertain[one])
    with served.running():
        page = open_page()
        first = name(page)
        expect(page.locator("#photographs option", has_text="no guess yet")).to_have_count(0)
        page.keyboard.press("n")
        expect(page.locator("#progress")).to_contain_text("1 of 3 labelled")
        expect(page.locator("#save")).to_be_enabled()
        assert name(page) == next(one for one in expected if one != first)


def test_a_stroke_is_painted_undone_redone_saved_and_opened_again(page: Page, served: Served) -> None:
    before = ids(page)
    size(page, 9)
    page.keyboard.press("7")
    drag(page, (30, 40), (90.5, 70))
    expected = before.copy()
    expected[capsule(before.shape, (30, 40), (90.5, 70), 9)] = 7
    after = ids(page)
    wrong = (after != expected).sum()
    assert wrong <= 6, wrong  # a mouse stops at whole pixels of the screen
    corrected = int((after != before).sum())
    expect(page.locator("#status")).to_contain_text(f"{corrected:,} pixels corrected")
    expect(page.locator("#status")).to_contain_text("not saved")
    page.keyboard.press("Control+z")
    assert np.array_equal(ids(page), before)
    page.keyboard.press("Control+Shift+Z")
    assert np.array_equal(ids(page), after)
    page.keyboard.press("s")
    expect(page.locator("#progress")).to_contain_text(f"1 of 3 labelled, {corrected:,} pixels corrected")
    assert np.array_equal(saved(page, served), after)
    row = read_record(served.photos / "labels.csv")[name(page)]
    assert (row.pixels, row.corrected) == (before.size, corrected)
    photograph = name(page)
    page.reload()
    expect(page.locator("#save")).to_be_enabled()
    pick(page, photograph)
    expect(page.locator("#status")).to_contain_text(f"{photograph}: 160 x 120, {corrected:,} pixels corrected")
    assert np.array_equal(ids(page), after)


def test_every_id_is_painted_and_saved_as_it_is(page: Page, served: Served) -> None:
    """No canvas, palette or colour profile changes one; 255 is saved, too."""
    size(page, 3)
    for i, key in enumerate([*"0123456789", "q", "i"]):
        page.keyboard.press(key)
        drag(page, (10 * i + 5, 20), (10 * i + 5, 100))
    painted = ids(page)
    assert [painted[60, 10 * i + 5] for i in range(12)] == [*range(11), 255]
    page.keyboard.press("s")
    expect(page.locator("#status")).to_contain_text("saved")
    expect(page.locator("#progress")).to_contain_text("1 of 3")
    assert np.array_equal(saved(page, served), painted)


def test_eraser_fill_and_all_of_a_class(page: Page) -> None:
    size(page, 20)
    page.keyboard.press("5")
    drag(page, (30, 30), (60, 30))
    drag(page, (30, 90), (60, 90))
    before = ids(page)
    page.keyboard.press("f")
    page.keyboard.press("6")
    page.mouse.click(*at(page, 40, 30))
    _, regions = cv2.connectedComponents((before == 5).astype(np.uint8), connectivity=4)
    expected = np.where(regions == regions[30, 40], 6, before)
    assert np.array_equal(ids(page), expected)
    page.keyboard.press("8")
    page.keyboard.down("Shift")
    page.mouse.click(*at(page, 40, 90))
    page.keyboard.up("Shift")
    assert np.array_equal(ids(page), np.where(expected == 5, 8, expected))
    page.keyboard.press("e")
    size(page, 9)
    drag(page, (45, 90), (45, 90))
    assert ids(page)[90, 45] == 0
    page.keyboard.press("3")  # a class goes back to the brush
    expect(page.get_by_role("button", name="Brush")).to_have_attribute("aria-pressed", "true")


def test_a_polygon_is_filled(page: Page) -> None:
    before = ids(page)
    page.keyboard.press("4")
    page.keyboard.press("p")
    corners = [(20, 20), (100, 30), (60, 100), (150, 5)]
    for corner in corners[:3]:
        page.mouse.click(*at(page, *corner))
    page.mouse.click(*at(page, *corners[3]))
    page.keyboard.press("Backspace")
    assert np.array_equal(ids(page), before)
    page.keyboard.press("Enter")
    inside = cv2.fillPoly(np.zeros(before.shape, np.uint8), [np.array(corners[:3])], 1) == 1
    border = cv2.polylines(np.zeros(before.shape, np.uint8), [np.array(corners[:3])], True, 1, 3) == 1
    after = ids(page)
    assert (after == 4)[inside & ~border].all()
    assert np.array_equal(after[~inside & ~border], before[~inside & ~border])
    page.mouse.click(*at(page, 20, 90))
    page.keyboard.press("Escape")
    assert np.array_equal(ids(page), after)


def test_the_drawing_of_ids_agrees_with_slow_computations(page: Page) -> None:
    """Strokes by distances, fills by OpenCV's regions, polygons by a winding of each pixel; and the way back."""
    rng = np.random.default_rng(5)
    page.evaluate("globalThis.made = new Labels(150, 70, new Uint8Array(10500), new Uint8Array(10500))")
    state = np.zeros((70, 150), np.uint8)
    past = [state]

    def now() -> np.ndarray:
        return np.array(page.evaluate("[...made.ids]"), np.uint8).reshape(70, 150)

    y, x = np.mgrid[:70, :150] + 0.5
    for i in range(24):
        a, b = (rng.uniform(-20, [170, 90]).tolist() for _ in range(2))
        state, id_ = state.copy(), i % 5 + 1
        if i % 3 == 0:
            diameter = float(rng.uniform(1, 40))
            page.evaluate(f"made.begin(); made.stroke({a}, {b}, {diameter}, {id_})")
            state[capsule(state.shape, (a[0], a[1]), (b[0], b[1]), diameter)] = id_
            for px, py in (a, b):
                if 0 <= px < 150 and 0 <= py < 70:
                    state[int(py), int(px)] = id_
        elif i % 3 == 1:
            points = rng.uniform(-20, [170, 90], (int(rng.integers(3, 8)), 2))
            page.evaluate(f"made.begin(); made.polygon({points.tolist()}, {id_})")
            inside = np.zeros(state.shape, bool)
            for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
                inside ^= ((y0 <= y) != (y1 <= y)) & (x >= x0 + (y - y0) / (y1 - y0) * (x1 - x0))
            state[inside] = id_
        else:
            column, row = int(rng.integers(150)), int(rng.integers(70))
            page.evaluate(f"made.begin(); made.fill({column}, {row}, {id_})")
            _, regions = cv2.connectedComponents((state == state[row, column]).astype(np.uint8), connectivity=4)
            state[regions == regions[row, column]] = id_
        page.evaluate("made.end()")
        assert np.array_equal(now(), state), i
        if not np.array_equal(state, past[-1]):
            past.append(state)
    assert page.evaluate("made.corrected()") == (state != 0).sum()
    for before in reversed(past[:-1]):
        assert page.evaluate("made.undo()")
        assert np.array_equal(now(), before)
    assert not page.evaluate("made.undo()")
    for after in past[1:]:
        assert page.evaluate("made.redo()")
        assert np.array_equal(now(), after)


def test_what_undo_keeps_is_bounded(page: Page) -> None:
    """A photograph of 4 megapixels, filled 40 times: 64 MB are 15 steps. What cannot be undone is not 'saved'."""
    steps, state = page.evaluate(
        """() => {
          const made = new Labels(2048, 2048, new Uint8Array(2048 * 2048), new Uint8Array(2048 * 2048));
          for (let i = 1; i <= 40; i++) { made.begin(); made.fill(0, 0, i); made.end(); }
          const steps = made.past.length;
          while (made.undo());
          return [steps, made.state];
        }"""
    )
    assert 10 <= steps <= 16
    assert state == 40 - steps


def test_zoom_and_move_keep_the_place(page: Page) -> None:
    x, y = at(page, 50, 60)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -480)
    page.keyboard.press("5")
    assert page.evaluate("view.scale") > 5
    after = at(page, 50, 60)
    assert after == pytest.approx((x, y), abs=0.5)
    before = ids(page)
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    page.keyboard.up(" ")
    assert at(page, 50, 60) == pytest.approx((x + 60, y + 30), abs=0.5)
    assert np.array_equal(ids(page), before)
    size(page, 3)
    page.mouse.click(x + 60, y + 30)
    assert ids(page)[60, 50] == 5
    page.keyboard.press("Home")
    assert page.evaluate("view.scale * 120 <= document.getElementById('picture').clientHeight + 1")


def test_the_guess_is_shown_while_its_key_is_down_and_not_painted(page: Page) -> None:
    page.keyboard.press("9")
    size(page, 30)
    drag(page, (80, 60), (90, 60))
    painted = ids(page)
    page.keyboard.down("g")
    expect(page.locator("#peek")).to_have_attribute("aria-pressed", "true")
    drag(page, (20, 20), (30, 20))
    page.keyboard.up("g")
    expect(page.locator("#peek")).to_have_attribute("aria-pressed", "false")
    assert np.array_equal(ids(page), painted)
    page.mouse.click(*at(page, 85, 60), button="right")
    expect(page.locator("#legend [aria-pressed=true] .name")).to_have_text(page.evaluate("model.classes[9].name"))


def test_a_killed_server_loses_no_work(open_page: OpenPage, served: Served) -> None:
    with served.running():
        page = open_page()
        page.keyboard.press("7")
        drag(page, (30, 40), (90, 70))
    page.keyboard.press("s")
    expect(page.locator("#problems li")).to_have_text(
        f"{name(page)}: not saved: the server does not answer; start 'faceparse web --label' again. "
        "What you painted is still here"
    )
    drag(page, (30, 80), (90, 80))
    painted = ids(page)
    with served.running():
        page.keyboard.press("s")
        expect(page.locator("#progress")).to_contain_text("1 of 3 labelled")
        expect(page.locator("#problems li")).to_have_count(0)
        assert np.array_equal(saved(page, served), painted)


def test_unsaved_work_is_not_left_unasked(page: Page, served: Served) -> None:
    first = name(page)
    page.keyboard.press("7")
    drag(page, (30, 40), (90, 70))
    painted = ids(page)
    other = next(one for one in ("anna.png", "bert.png", "cleo.png") if one != first)
    pick(page, other)
    expect(page.locator("#unsaved")).to_have_text(f"{first} has changes that are not saved.")
    page.get_by_role("button", name="Stay").click()
    expect(page.locator("#photographs option:checked")).to_contain_text(first)
    assert name(page) == first
    assert np.array_equal(ids(page), painted)
    pick(page, other)
    page.locator("#leave").get_by_role("button", name="Save").click()
    expect(page.locator("#picture")).to_have_attribute("aria-label", re.compile(other))
    assert np.array_equal(read_label(served.photos / "labels" / f"{Path(first).stem}.png"), painted)
    drag(page, (30, 40), (90, 70))
    page.keyboard.press("z")
    pick(page, first)  # nothing to ask: all was undone
    expect(page.locator("#picture")).to_have_attribute("aria-label", re.compile(first))


def test_a_label_that_was_changed_elsewhere_is_replaced_at_the_second_save(page: Page, served: Served) -> None:
    page.keyboard.press("7")
    drag(page, (30, 40), (90, 70))
    painted = ids(page)
    file = served.photos / "labels" / f"{Path(name(page)).stem}.png"
    other = np.full_like(painted, 3)
    file.write_bytes(encode_png(other))
    page.keyboard.press("s")
    expect(page.locator("#problems li")).to_contain_text("was changed elsewhere since it was opened; save again")
    assert np.array_equal(read_label(file), other)
    page.keyboard.press("s")
    expect(page.locator("#problems li")).to_have_count(0)
    assert np.array_equal(read_label(file), painted)


def test_what_cannot_be_opened_is_a_line_and_passed_over(open_page: OpenPage, served: Served) -> None:
    (served.photos / "bert.png").write_bytes(b"no picture")
    (served.photos / "day").mkdir()
    with served.running():
        page = open_page()
        page.keyboard.press("n")
        expect(page.locator("#progress")).to_contain_text("1 of 3")
        expect(page.locator("#save")).to_be_enabled()
        page.keyboard.press("n")
        expect(page.locator("#progress")).to_contain_text("2 of 3")
        expect(page.locator("#photographs")).to_contain_text("bert.png: cannot be opened")
        page.reload()
        problems = page.locator("#problems")
        expect(problems).to_contain_text("folders in it are not searched: day")
        expect(problems).to_contain_text("bert.png: not a readable picture")


def test_keys_are_told(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    before = ids(page)
    page.keyboard.press("z")
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    assert np.array_equal(ids(page), before)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_fingers_paint(open_page: OpenPage, served: Served, scheme: str, tmp_path: Path) -> None:
    with served.running():
        page = open_page(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for button in page.locator("#panel").get_by_role("button").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 40
            assert box["x"] + box["width"] <= PHONE["width"]
        page.evaluate("choose(9)")
        page.evaluate("scrollTo(0, 0)")
        before = ids(page)
        touch = page.context.new_cdp_session(page)

        def send(kind: str, *points: tuple[float, float]) -> None:
            fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

        a, b, c = at(page, 40, 60), at(page, 60, 60), at(page, 120, 60)
        send("touchStart", a)
        send("touchMove", b)
        send("touchStart", b, c)  # a second finger: no stroke, but a pinch
        scale = page.evaluate("view.scale")
        send("touchMove", at(page, 20, 60), at(page, 150, 60))
        send("touchEnd")
        assert page.evaluate("view.scale") > 1.5 * scale
        assert np.array_equal(ids(page), before)
        page.locator("#fit").click()
        page.evaluate("scrollTo(0, 0)")
        send("touchStart", at(page, 40, 60))
        send("touchMove", at(page, 60, 60))
        send("touchEnd")
        assert (ids(page)[60, 42:58] == 9).all()
        page.screenshot(path=tmp_path / f"phone-{scheme}.png")
