"""What stands beside the code: the changelog, the citation, the templates."""

import re
import tomllib
from datetime import date
from pathlib import Path

import yaml

import faceparse

ROOT = Path(__file__).parents[1]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def versions() -> dict[str, str]:
    """Each version of the changelog -> its date, or `not released`; the newest first."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    return dict(heading.split(" - ") for heading in headings)


def test_the_changelog_begins_with_this_version() -> None:
    assert next(iter(versions())) == faceparse.__version__


def test_only_the_newest_version_has_no_date() -> None:
    newest, *released = versions().values()
    days = [date.fromisoformat(day) for day in released]
    assert days == sorted(days, reverse=True)
    assert newest == "not released" or date.fromisoformat(newest) >= max(days, default=date.min)


def test_the_changelog_says_what_kind_a_change_is_of() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= KINDS


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert str(citation["version"]) == faceparse.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert ("date-released" in citation) == (versions()[faceparse.__version__] != "not released")


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "faceparse.__version__"}


def test_issue_templates_have_a_name() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert templates
    for template in templates:
        _, head, body = template.read_text("utf-8").split("---\n", 2)
        assert yaml.safe_load(head).keys() == {"name", "about"}
        assert body.strip()
