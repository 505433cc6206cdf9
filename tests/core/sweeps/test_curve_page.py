"""The chart of a learning curve."""

import re

import numpy as np

from faceparse.core.scoring.bootstrap import Interval
from faceparse.core.sweeps.curve_page import curve_page


def test_the_chart_shows_higher_scores_higher() -> None:
    rows = [(5.0, "5", 0.805, Interval(0.78, 0.83)), (10.0, "10", 0.871, Interval(0.85, 0.89))]
    page = curve_page("<b>", rows, 30, "verdict")
    ((x, y), (x2, y2)) = [
        map(float, pair.split(","))
        for pair in re.search(r'class="curve" points="([^"]+)"', page)[1].split()  # type: ignore[index]
    ]
    assert x < x2
    assert y > y2
    labels = np.array([float(text) for text in re.findall(r'text-anchor="end">([\d.]+)<', page)])
    assert (labels[0], labels[-1]) == (78, 89)
    assert "&lt;b&gt;" in page


def test_equal_scores_without_intervals_have_a_chart() -> None:
    page = curve_page("x", [(5.0, "5", 0.8, None), (10.0, "10", 0.8, None)], 30, "verdict")
    assert page.count("<circle") == 2
    assert "nan" not in page
