"""The report's ceiling."""

import math
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.prepare import prepare
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import get_label_set
from tests.core.datasets.given import ALIGNMENT, Turned, turned_template


def test_the_ceiling_is_the_score_of_the_label_after_the_way_there_and_back(tmp_path: Path) -> None:
    points, _ = turned_template(31, 2.1)
    report = prepare(Turned(points), tmp_path / "out", alignment=ALIGNMENT)
    out = tmp_path / "out"
    raw_label, label = read_label(out / "labels_raw" / "a.png"), read_label(out / "labels" / "a.png")
    project = np.load(out / "project" / "a.npy")
    forth = np.linalg.inv(np.vstack([project, [0, 0, 1]]))
    back = np.zeros_like(raw_label)
    for y in range(back.shape[0]):
        for x in range(back.shape[1]):
            u, v, _ = forth @ (x, y, 1)
            u, v = math.floor(u + 0.5), math.floor(v + 0.5)
            if 0 <= u < 128 and 0 <= v < 128:
                back[y, x] = label[v, u]
    assert report.ceiling is not None
    assert set(report.ceiling) == set(get_label_set("helen").names[:6])  # the others are absent
    for i, name in enumerate(report.ceiling):
        f1 = 2 * np.sum((back == i) & (raw_label == i)) / (np.sum(back == i) + np.sum(raw_label == i))
        assert report.ceiling[name] == pytest.approx(f1, abs=2e-3)  # nearest ties may fall either way
    assert 0.5 < min(report.ceiling.values()) < 1
    assert prepare(Turned(points), out, alignment=ALIGNMENT).ceiling == report.ceiling  # without doing it again
