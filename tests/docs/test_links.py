"""The links of what is read outside the site; `make docs` follows those of the site itself."""

import re
from pathlib import Path

import pytest

from tests.docs.shown import ROOT


def anchors(page: Path) -> set[str]:
    """As hubs and the site make them of headings: lower case, words joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\(\s*(?!https?:)([^)#\s]*)(?:#([^)\s]*))?\s*\)", text)
    assert links
    for link, anchor in links:
        target = ROOT / (link or page)
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"
