"""The report's numbers against a slow count, and its page."""

import json
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.prediction.parsing_report import Measured, Shares, report_json, summarize
from faceparse.core.prediction.parsing_report_page import Pictures, parsing_report_page
from faceparse.core.prediction.photograph_facts import FaceFacts, Facts

CLASSES = {"background": "#000000", "skin": "#ff0000", "hat": "#00ff00"}


def made(count: int) -> list[Measured]:
    """Photographs with zero to two faces of many heights, some without a hat; each tenth is broken."""
    dice, found = np.random.default_rng(0), list[Measured]()
    for n in range(count):
        where, name = f"photos/{n}.jpg", f"{n}"
        if n % 10 == 9:
            found.append(Measured(where, name, None, f"{where}: broken"))
            continue
        faces = [FaceFacts(float(dice.integers(20, 200)), 0.5, 0.9) for _ in range(n % 3)]
        pixels = [int(value) for value in dice.integers(1, 5000, 3)]
        pixels[2] *= n % 2
        confidence = round(float(dice.uniform(0.5, 1)), 4) if faces else None
        found.append(Measured(where, name, Facts(confidence, tuple(pixels), tuple(faces))))
    return found


def test_the_numbers_are_those_of_a_slow_count() -> None:
    photographs = made(3000)
    report = summarize(iter([*photographs, Measured("old.jpg", "old", None)]), CLASSES, 80.0)
    facts = {one.where: one.facts for one in photographs if one.facts is not None}
    assert (report.photographs, report.unmeasured) == (len(facts), 1)
    faces = {where: one.faces or () for where, one in facts.items()}
    assert report.faces == sum(map(len, faces.values()))
    expected = {
        "without_face": [where for where, one in faces.items() if not one],
        "several_faces": [where for where, one in faces.items() if len(one) > 1],
        "small_face": [where for where, one in faces.items() if min([face.height for face in one], default=99) < 80],
        "low_confidence": [where for where, one in facts.items() if (one.confidence or 1) < 0.8],
        "broken": [one.where for one in photographs if one.problem],
    }
    assert {kind: (look.count, look.examples) for kind, look in report.looks.items()} == {
        kind: (len(found), found[:20]) for kind, found in expected.items()
    }
    sure = {where: one.confidence for where, one in facts.items() if one.confidence is not None}
    least = sorted(sure.items(), key=lambda one: (one[1], Path(one[0]).stem))[:50]
    assert [(one.source, one.confidence) for one in report.least_sure] == least
    for id_, areas in enumerate(report.classes):
        shares = [one.pixels[id_] / sum(one.pixels) for one in facts.values() if one.pixels[id_]]
        assert areas.absent == len(facts) - len(shares)
        assert areas.shares is not None
        assert areas.shares.mean == pytest.approx(np.mean(shares), abs=1e-6)
        for share, value in areas.shares.quantiles.items():
            assert value == pytest.approx(np.quantile(shares, float(share), method="inverted_cdf"), abs=1e-4)
        assert (areas.shares.low, areas.shares.high) == pytest.approx((min(shares), max(shares)), abs=1e-4)
        assert sum(areas.shares.histogram) == len(shares)
        expected_bars = np.histogram(np.round(shares, 4), 40)[0]
        assert np.abs(np.cumsum(areas.shares.histogram) - np.cumsum(expected_bars)).max() < 0.01 * len(shares)
    assert report.confidence is not None
    assert report.confidence.quantiles["0.5"] == np.quantile(list(sure.values()), 0.5, method="inverted_cdf")
    assert json.loads(report_json(report))["looks"]["broken"]["count"] == 300


def test_memory_does_not_grow_with_the_photographs() -> None:
    shares = Shares()
    for _ in range(1000):
        shares.add(1.0)
        shares.add(0.0)
    found = shares.distribution()
    assert found is not None
    assert (found.mean, found.low, found.high, found.histogram[0], found.histogram[-1]) == (0.5, 0, 1, 1000, 1000)
    assert Shares().distribution() is None


def test_the_page_escapes_names_and_shows_pictures() -> None:
    facts = Facts(0.4, (10, 0, 0), (FaceFacts(30, 0.5, 0.4),))
    report = summarize([Measured("<b>\udcff.jpg", "x", facts)], CLASSES, 80.0)
    page = parsing_report_page(
        report, "o", {"x": Pictures("data:image/jpeg;base64,AAAA", "data:image/jpeg;base64,BBBB")}
    )
    page.encode()
    assert "<b>\\xff" not in page
    assert "&lt;b&gt;\\xff.jpg" in page
    assert 'src="data:image/jpeg;base64,BBBB"' in page
    assert "lower than 80 pixels" in page
    assert "//" not in page.replace("data:image", "")


def test_a_page_about_nothing_and_about_whole_pictures() -> None:
    page = parsing_report_page(summarize([], CLASSES), "o", {})
    assert "least sure" not in page
    whole = summarize([Measured("a.jpg", "a", Facts(0.9, (1, 2, 3), None))], CLASSES, 80.0)
    assert whole.faces is None
    assert "without a face" not in parsing_report_page(whole, "o", {})
