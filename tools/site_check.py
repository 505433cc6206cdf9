"""Check the built site, whatever built it: `python -m tools.site_check`.

Faults are links and pictures that lead nowhere, links that work only from a server, files fetched from elsewhere, pages
that the nav lacks, and entries of the nav without a page. Each fault is a line, and any fault fails the check.
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
"""Pattern of an address in a style sheet that is fetched over the network."""


class Page(HTMLParser):
    """A built page: its anchors, the targets of its links, and the files that it fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the anchor, the links and the fetched files of a tag."""
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
        """Note the end of a style sheet."""
        self._in_style = False

    def handle_data(self, data: str) -> None:
        """Note the files that a style sheet in the page fetches."""
        if self._in_style:
            self.fetched += FROM_ELSEWHERE.findall(data)


def faults(site: Path) -> Iterator[str]:
    """Yield a line for each wrong link of a built site, and for each file that it fetches from elsewhere."""
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    pages.pop(site / "404.html", None)  # a server shows it under any address, so its links cannot be relative
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
    """Reason why a link within the site leads nowhere. `anchors` has every file, and the anchors of each page."""
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
    """Yield a line for each page that the nav lacks, and for each entry of the nav without a page."""
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
    """Run the program and return its exit code."""
    nav = tomllib.loads(CONFIG.read_text("utf-8"))["project"]["nav"]
    found = list(nav_faults(nav, PAGES)) or list(faults(SITE.resolve()))  # every page repeats the links of the nav
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
