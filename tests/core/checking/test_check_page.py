"""The page holds all that was found, and needs nothing from elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.checking.check import CheckReport, ImageSizes, check_dataset
from faceparse.core.checking.check_page import PICTURE_SIDE, check_page, share_phrase, size_phrase
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.labels.label_set import LabelSet
from tests.pages import Page


@pytest.fixture(scope="module")
def report(faces: Path) -> CheckReport:
    return check_dataset(faces)


def changed(report: CheckReport, **changes: object) -> CheckReport:
    return CheckReport(**{**vars(report), **changes})  # type: ignore[arg-type]


def test_a_good_dataset(report: CheckReport, faces: Path) -> None:
    page = Page(check_page(report, faces))
    assert "Nothing wrong" in page.all("p")
    assert page.all("li") == []
    assert page.all("dd") == ["12 images", "2 images", "2 images", "helen, 11 classes", "72 x 72"]
    assert page.all("h1") == [str(faces)]
    rows = page.all("td")
    for found in report.classes:
        at = rows.index(found.name)
        assert rows[at + 1 : at + 3] == [f"{100 * found.share:.2f}", str(found.images)]


def test_every_problem_is_there_as_it_is_written(report: CheckReport, faces: Path) -> None:
    problems = ("<script>alert(1)</script> & 'x'", 'a "quoted" $name ${x} {0}', "</style></ul>&amp;")
    text = check_page(changed(report, problems=problems), faces)
    page = Page(text)
    assert page.all("li") == list(problems)
    assert "3 problems" in page.all("p")
    assert "<script" not in text


def test_names_are_escaped_too(report: CheckReport, tmp_path: Path, faces: Path) -> None:
    classes = {f"<b>{i}": f"#0000{i:02d}" for i in range(11)}
    odd = changed(
        report,
        label_set=LabelSet(name="<i>&", side="none", classes=classes),
        order="<u>",
        splits={"<s>": 1},
    )
    page = Page(check_page(odd, Path("<h6>&")))
    assert page.all("h1") == ["<h6>&"]
    assert "<i>&, 11 classes" in page.all("dd")
    assert "looks like <u>" in page.all("dd")
    assert "<s>" in page.all("dt")


def test_it_needs_no_network(report: CheckReport, faces: Path) -> None:
    text = check_page(report, faces)
    pictures = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//|url\(|@import|<link|<script|<iframe", pictures)


def test_examples_are_the_image_and_its_overlay(report: CheckReport, faces: Path) -> None:
    page = Page(check_page(report, faces))
    pictures = page.pictures()
    assert len(pictures) == 2 * len(report.examples) == 16
    assert all(picture.shape == (72, 72, 3) for picture in pictures)
    assert page.all("figcaption") == [f"{split}: {sample.id}" for split, sample in report.examples]
    for image, painted in zip(pictures[::2], pictures[1::2], strict=True):
        assert np.abs(image.astype(int) - painted).mean() > 5


def test_large_examples_are_made_small(report: CheckReport, tmp_path: Path, faces: Path) -> None:
    split, sample = report.examples[0]
    large = type(sample)(**{**vars(sample), "image": tmp_path / "a.jpg", "label": tmp_path / "a.png"})
    large.image.write_bytes(encode_jpeg(np.zeros((600, 1500, 3), np.uint8)))
    large.label.write_bytes(encode_png(np.ones((600, 1500), np.uint8)))
    page = Page(check_page(changed(report, examples=((split, large),)), faces))
    assert [picture.shape for picture in page.pictures()] == [(128, PICTURE_SIDE, 3)] * 2


def test_nothing_to_show(report: CheckReport, faces: Path) -> None:
    empty = tuple(type(found)(found.name, 0.0, 0) for found in report.classes)
    page = Page(check_page(changed(report, examples=(), sizes=None, classes=empty), faces))
    assert page.pictures() == []


def test_sizes_in_words() -> None:
    assert size_phrase(ImageSizes((7, 8), (7, 8), (7, 8), 1)) == "7 x 8"
    assert size_phrase(ImageSizes((7, 8), (9, 9), (20, 10), 5)) == "7 x 8 to 20 x 10, median 9 x 9, 5 distinct"


def test_a_small_share_is_not_called_none() -> None:
    assert [share_phrase(share) for share in (0.0, 1e-6, 0.00006, 0.5, 1.0)] == [
        "0.00",
        "<0.01",
        "0.01",
        "50.00",
        "100.00",
    ]
