"""The leaderboard's page: what it shows, that nothing in a file runs, and how it sorts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.scoring.leaderboard import read_leaderboard
from faceparse.core.scoring.leaderboard_page import leaderboard_dict, leaderboard_page
from faceparse.core.scoring.model_facts import Speed
from tests.core.scoring.score_folders import made, write
from tests.pages import Page

CHROMIUM = Path("/usr/bin/chromium")
EVIL = "<img src=x onerror=alert(1)>"


def fill(folder: Path) -> None:
    """Three models from good to bad, whose times go the other way; one has none."""
    for seed, (errors, time) in enumerate(((0.1, 0.9), (0.2, 0.1), (0.4, None))):
        speed = None if time is None else Speed(seconds_per_image=time, device="A processor", threads=2)
        write(folder / str(seed), made(seed, errors=errors, speed=speed))


def page_of(folder: Path) -> str:
    return leaderboard_page(read_leaderboard(folder), folder / "leaderboard.html")


def test_the_page_shows_what_the_files_say(tmp_path: Path) -> None:
    fill(tmp_path)
    board = read_leaderboard(tmp_path)
    page = Page(page_of(tmp_path))
    cells, small = page.all("td"), page.all("small")
    for entry in board.tables[0].entries:
        low, high = entry.found.scores.interval or (0, 0)
        assert f"{100 * entry.found.scores.mean_f1:.2f}" in cells
        assert f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}" in small
    gap = board.tables[0].entries[1].gap
    assert gap is not None
    assert gap.value is not None
    assert f"{100 * gap.value:+.2f}" in cells
    assert any(f"p {gap.p_value:.3f}" in text for text in small)
    assert {"900.0", "100.0", "2.5", "48 x 64", "cc-by-4.0", "best"} <= set(cells)
    assert small.count("A processor, 2 threads") == 2
    assert [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")] == [
        f"{seed}/report.html" for seed in range(3)
    ]
    assert page.all("a") == [f"{seed}/best.pth" for seed in range(3)]


def test_a_mapped_model_and_mapped_truth_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "a", made(1))
    write(tmp_path / "b", made(2, notes=["ears in skin"]))
    write(tmp_path / "c", made(3, notes=["ears in skin"], truth={"background": ["background", "hat"]}))
    page = Page(page_of(tmp_path))
    assert sum("classes mapped" in text for text in page.all("small")) == 1
    assert sum("mapped to" in text for text in page.all("h2")) == 1


def test_what_files_lack_is_empty(tmp_path: Path) -> None:
    bare = {"licence": None, "model_file": None, "speed": None, "epoch": None, "fingerprint": None}
    write(tmp_path / "a", made(1, resamples=0, **bare))
    (tmp_path / "a" / "report.html").unlink()
    text = page_of(tmp_path)
    assert "the files do not say which data; it may have changed" in text
    assert "epoch" not in re.findall(r"<tbody>.*</tbody>", text, re.DOTALL)[0]
    assert text.count('<td class="number"></td>') == 2
    assert "None" not in text
    assert "href" not in text


def test_texts_of_strangers_are_texts(tmp_path: Path) -> None:
    folder = tmp_path / f"javascript:alert(1) {EVIL.replace('/', '')}"
    evil = made(1, checkpoint=f"a/{EVIL}", licence=EVIL, split=EVIL, notes=[EVIL], tta=EVIL, dataset=Path(EVIL))
    write(folder, evil)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "scores.json").write_text(json.dumps({EVIL: EVIL, "protocols": {EVIL: EVIL}}))
    text = page_of(tmp_path)
    page = Page(text)
    assert not [one for one in page.attributes if one[0] == "img" or one[1].startswith("on")]
    (link,) = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert link.startswith("javascript%3Aalert")
    assert EVIL not in text
    assert EVIL in page.all("td")


def test_names_that_are_not_text_can_be_shown(tmp_path: Path) -> None:
    write(Path(f"{tmp_path}/caf\udce9"), made(1))
    text = page_of(tmp_path)
    text.encode()
    assert "caf\\udce9" in text
    assert 'href="caf%E9/report.html"' in text


def test_the_page_asks_no_network(tmp_path: Path) -> None:
    fill(tmp_path)
    script = re.compile(r"<script>.*</script>", re.DOTALL)
    text = page_of(tmp_path)
    assert not re.search(r"https?:|url\(|@import|<link|<iframe|src=", text)
    assert not re.search(r"fetch|XMLHttp|import|eval", str(script.findall(text)))


def test_plain_data_is_the_same(tmp_path: Path) -> None:
    fill(tmp_path)
    board = read_leaderboard(tmp_path)
    found = json.loads(json.dumps(leaderboard_dict(board)))
    (table,) = found["tables"]
    assert (table["datasets"], table["split"], table["protocol"]) == (["Faces"], "test", "eagrnet")
    assert [one["rank"] for one in table["evaluations"]] == [1, 2, 3]
    gap = board.tables[0].entries[1].gap
    assert gap is not None
    first, second, third = table["evaluations"]
    assert first["difference"] is None
    assert (second["difference"], second["p_value"]) == (gap.value, gap.p_value)
    assert second["difference_interval"] == list(gap.interval or ())
    assert (third["speed"], second["speed"]["seconds_per_image"]) == (None, 0.1)


# In a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("script", [True, False])
def test_headings_sort_and_without_script_the_order_is_the_ranking(browser: Any, script: bool, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "leaderboard.html").write_text(page_of(tmp_path))
    context = browser.new_context(java_script_enabled=script)
    try:
        page = context.new_page()
        page.goto((tmp_path / "leaderboard.html").as_uri())

        def ranks() -> list[str]:
            return [cell.strip() for cell in page.locator("tbody td:first-child").all_inner_texts()]

        assert ranks() == ["1", "2", "3"]
        assert page.get_by_role("button").count() == (11 if script else 0)
        if not script:
            return
        time = page.get_by_role("columnheader", name="ms a photograph")
        time.get_by_role("button").click()
        assert ranks() == ["2", "1", "3"]  # without a time: at the end
        assert time.get_attribute("aria-sort") == "ascending"
        time.get_by_role("button").press("Enter")
        assert ranks() == ["1", "2", "3"]
        assert time.get_attribute("aria-sort") == "descending"
        assert page.locator("[aria-sort]").count() == 1
        page.get_by_role("columnheader", name="rank").get_by_role("button").click()
        page.get_by_role("columnheader", name="rank").get_by_role("button").click()
        assert ranks() == ["3", "2", "1"]
        page.get_by_role("columnheader", name="mean F1").get_by_role("button").click()
        assert ranks() == ["1", "2", "3"]  # the best first
    finally:
        context.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_only_tables_are_wider_than_the_window(browser: Any, width: int, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "leaderboard.html").write_text(page_of(tmp_path))
    context = browser.new_context(viewport={"width": width, "height": 800})
    try:
        page = context.new_page()
        page.goto((tmp_path / "leaderboard.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
    finally:
        context.close()
