"""The page of near-duplicates: its pictures, what it leaves out, strangers' names."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from faceparse.core.checking.dedupe import Duplicates, Fingerprint, Member, find_duplicates, find_photographs
from faceparse.core.checking.dedupe_page import GROUPS, MEMBERS, PICTURE_SIDE, dedupe_page
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.photograph import Photograph
from tests.core.checking.test_near_copies import noise
from tests.pages import Page


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two photographs, each twice, and a broken file."""
    for i, grey in enumerate(noise(2)):
        data = encode_png(np.repeat(cv2.resize(grey, (400, 300))[..., None], 3, axis=2))
        for name in ("a", "b"):
            (tmp_path / f"{i}{name}.png").write_bytes(data)
    (tmp_path / "broken.jpg").write_bytes(b"no photograph")
    return tmp_path


def test_each_group_is_shown_with_its_photographs_and_facts(album: Path) -> None:
    photographs = find_photographs(str(album))
    found = find_duplicates(photographs)
    html = dedupe_page(found, photographs, "Near-duplicates in album")
    assert "2 near-duplicates of 2 among 4 photographs" in html
    assert html.count("400 x 300, ") == 4
    assert html.count("distance 0.0000") == 4
    assert f"{album}/broken.jpg: not a readable image; replace the file" in html
    members = [member.photograph.where for group in found.groups for member in group]
    for shown, where in zip(Page(html).pictures(), members, strict=True):
        assert max(shown.shape) == PICTURE_SIDE
        file = cv2.resize(cv2.imread(where), shown.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(shown.astype(int) - file[..., ::-1]).mean() < 8


def test_large_results_are_cut_and_said_so() -> None:
    one = Fingerprint("gone.jpg", b"", np.zeros((32, 32), np.uint8), (3, 4), 5)
    groups, broken = [[Member(one, 0.0)] * (MEMBERS + 3)] * (GROUPS + 7), [f"{i}: broken" for i in range(GROUPS + 9)]
    many = Duplicates(10_000, groups, broken)
    html = dedupe_page(many, [Photograph("gone.jpg")], "many")
    assert html.count("gone.jpg") == GROUPS * MEMBERS
    assert "7 more groups are in the list." in html
    assert "3 more are in the list." in html
    assert "and 9 more" in html
    assert "data:image" not in html  # it was removed meanwhile


def test_names_cannot_write_into_the_page() -> None:
    name = "<script>alert(1)</script>caf\udce9.jpg"
    one = Fingerprint(name, b"", np.zeros((32, 32), np.uint8), (3, 4), 5)
    html = dedupe_page(Duplicates(2, [[Member(one, 0.0), Member(one, 0.01)]], [f"{name}: broken"]), [], name)
    assert "<script>alert" not in html
    assert "caf\\udce9.jpg" in html
    html.encode()
