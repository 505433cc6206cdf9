"""Look through the built site for what must not be there, whatever built it: `python -m tools.site_check`.

That is a link or a picture that leads nowhere, one that opens from a server only, something fetched from elsewhere, a
page that stands nowhere in the nav, and an entry of the nav without a page. Each is a line, and any of them fails.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tools.reference import PAGES, ROOT

CONFIG = ROOT / "zensical.toml"
SITE = ROOT / "site"

FROM_ELSEWHERE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)")
"""What a style sheet fetches over the network."""


class Page(HTMLParser):
    """A built page: the anchors in it, where its links lead, and what it fetches to be shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for key, value in attrs:
            if key == "id" or (tag == "a" and key == "name"):
                self.anchors.add(value or "")
            elif key == "href":
                (self.links if tag in ("a", "area") else self.fetched).append(value or "")
            elif key in ("src", "poster") or (tag, key) == ("object", "data"):
                self.fetched.append(value or "")
            elif key == "srcset":
                self.fetched += [one.split()[0] for one in (value or "").split(",") if one.strip()]
            elif key == "style":
                self.fetched += FROM_ELSEWHERE.findall(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.fetched += FROM_ELSEWHERE.findall(data)


def faults(site: Path) -> Iterator[str]:
    """What is wrong with the links of a built site and with what it fetches."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    pages.pop(site / "404.html", None)  # a server shows it under any address: its links cannot be relative
    anchors = {path: pages[path].anchors if path in pages else None for path in site.rglob("*") if path.is_file()}
    for path, page in pages.items():
        found = [_misfetched(url) or _misled(url, path, anchors) for url in page.fetched]
        found += [_misled(url, path, anchors) for url in page.links]
        yield from (f"{path.relative_to(site)}: {fault}" for fault in dict.fromkeys(found) if fault)
    for path in sorted(site.rglob("*.css")):
        found = [_misfetched(url) for url in FROM_ELSEWHERE.findall(path.read_text("utf-8"))]
        yield from (f"{path.relative_to(site)}: {fault}" for fault in found if fault)


def _misfetched(url: str) -> str | None:
    parts = urlsplit(url)
    elsewhere = parts.netloc or parts.scheme not in ("", "data")
    return f"fetches {url} from elsewhere; put the file into docs/assets" if elsewhere else None


def _misled(url: str, page: Path, anchors: dict[Path, set[str] | None]) -> str | None:
    """Why a link within the site leads nowhere. `anchors` has each file, and the anchors of those that are pages."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return None
    if parts.path.startswith("/"):
        return f"{url} opens from a server only; write the path from this page"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target not in anchors:
        return f"{url} leads to no file of the site"
    known = anchors[target]
    if parts.fragment and known is not None and unquote(parts.fragment) not in known:
        return f"{url} leads to no anchor of that page"
    return None


def nav_faults(nav: list[Any], docs: Path) -> Iterator[str]:
    """Pages that the nav lacks, and entries of it that lack a page."""
    entries = set(_entries(nav))
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    yield from (
        f"{name}: stands nowhere; give it a line under nav in {CONFIG.name}" for name in sorted(pages - entries)
    )
    yield from (f"{CONFIG.name}: nav: {name} is not in docs/" for name in sorted(entries - pages))


def _entries(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for page in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _entries(page) if isinstance(page, list) else [page]


def main() -> int:
    nav = tomllib.loads(CONFIG.read_text("utf-8"))["project"]["nav"]
    found = list(nav_faults(nav, PAGES)) or list(faults(SITE.resolve()))  # each page has the links of the nav
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
