"""The built site is refused for each thing that a reader would fall over."""

from pathlib import Path

import pytest

from tools import site_check

FINE = """
<link rel="stylesheet" href="../assets/site.css"><link rel="next" href="../home.html">
<h2 id="here">Here</h2><a name="old"></a><img src="../a%20picture.jpg" srcset="../a%20picture.jpg 2x"><img src="data:,">
<a href="#here">up</a> <a href="#old">up</a> <a href="../home.html?a#there">home</a>
<a href="../a%20picture.jpg#x">picture</a>
<a href="https://example.com/x.html#y">there</a> <a href="mailto:a@example.com">me</a>
<script src="../x.js"></script><code>url(https://example.com)</code>
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    (site / "reference").mkdir(parents=True)
    (site / "assets").mkdir()
    for file in ("a picture.jpg", "x.js", "404.html", "assets/site.css"):
        (site / file).touch()
    (site / "home.html").write_text('<h1 id="there">Home</h1>')
    (site / "reference" / "page.html").write_text(FINE)
    (tmp_path / "README.md").touch()
    return site


def test_a_sound_site_has_no_faults(site: Path) -> None:
    (site / "404.html").write_text('<link rel="stylesheet" href="/assets/site.css">')
    assert list(site_check.faults(site)) == []


@pytest.mark.parametrize(
    "html, fault",
    [
        ('<a href="gone.html">', "gone.html leads to no file of the site"),
        ('<a href="../assets/">', "../assets/ leads to no file of the site"),
        ('<a href="../../README.md">', "../../README.md leads to no file of the site"),
        ('<a href="../home.html#gone">', "../home.html#gone leads to no anchor of that page"),
        ('<a href="#gone">', "#gone leads to no anchor of that page"),
        ('<a href="/home.html">', "/home.html opens from a server only; write the path from this page"),
        ('<img src="gone.jpg">', "gone.jpg leads to no file of the site"),
        ('<img srcset="../x.js 1x, gone.jpg 2x">', "gone.jpg leads to no file of the site"),
        ('<link rel="stylesheet" href="gone.css">', "gone.css leads to no file of the site"),
    ],
)
def test_what_leads_nowhere_is_named(site: Path, html: str, fault: str) -> None:
    (site / "reference" / "page.html").write_text(FINE + html)
    assert list(site_check.faults(site)) == [f"reference/page.html: {fault}"]


@pytest.mark.parametrize(
    "html, url",
    [
        ('<script src="https://cdn.example/x.js"></script>', "https://cdn.example/x.js"),
        ("<img src=//example/x.png>", "//example/x.png"),
        ('<link rel="stylesheet" href="https://fonts.example/css">', "https://fonts.example/css"),
        ('<link rel="icon" href="http://example/x.png">', "http://example/x.png"),
        ('<iframe src="https://example/x.html">', "https://example/x.html"),
        ('<video poster="https://example/x.jpg">', "https://example/x.jpg"),
        ('<img srcset="../x.js 1x, https://example/x.jpg 2x">', "https://example/x.jpg"),
        ('<object data="https://example/x.svg">', "https://example/x.svg"),
        ("<p style=\"background: url('https://example/x.jpg')\">", "https://example/x.jpg"),
        ("<style>@import '//example/x.css';</style>", "//example/x.css"),
    ],
)
def test_what_is_fetched_from_elsewhere_is_named(site: Path, html: str, url: str) -> None:
    (site / "reference" / "page.html").write_text(FINE + html)
    fault = f"reference/page.html: fetches {url} from elsewhere; put the file into docs/assets"
    assert list(site_check.faults(site)) == [fault]


def test_what_a_style_sheet_fetches_is_named(site: Path) -> None:
    (site / "assets" / "site.css").write_text(
        "a { background: url(x.png) } b { background: url(https://example/x.png) }"
    )
    fault = "assets/site.css: fetches https://example/x.png from elsewhere; put the file into docs/assets"
    assert list(site_check.faults(site)) == [fault]


def test_pages_and_nav_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    for page in ("home.md", "reference/commands.md"):
        (tmp_path / page).touch()
    nav = [{"Home": "home.md"}, {"Reference": [{"Commands": "reference/commands.md"}]}]
    assert list(site_check.nav_faults(nav, tmp_path)) == []
    (tmp_path / "lost.md").touch()
    (tmp_path / "home.md").unlink()
    assert list(site_check.nav_faults(nav, tmp_path)) == [
        "lost.md: stands nowhere; give it a line under nav in zensical.toml",
        "zensical.toml: nav: home.md is not in docs/",
    ]


def test_faults_are_lines_and_fail(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, pages = site.parent / "zensical.toml", site.parent / "docs"
    pages.mkdir()
    (pages / "home.md").touch()
    config.write_text('[project]\nnav = [{ "Home" = "home.md" }]\n')
    for name, path in {"CONFIG": config, "PAGES": pages, "SITE": site}.items():
        monkeypatch.setattr(site_check, name, path)
    assert site_check.main() == 0
    (site / "home.html").write_text("")
    assert site_check.main() == 1
    fault = "reference/page.html: ../home.html?a#there leads to no anchor of that page"
    assert capsys.readouterr().err == f"error: {fault}\n"
    (pages / "lost.md").touch()
    assert site_check.main() == 1
    assert capsys.readouterr().err == "error: lost.md: stands nowhere; give it a line under nav in zensical.toml\n"
