from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.datasets.training_geometry import measure_geometry
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.images.read_label import read_label
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.machine.parallel import untracked

HELEN = get_label_set("helen")


def measured(root: Path, size: Size) -> FaceGeometry:
    samples = DatasetFolder(root).samples("train")
    geometry = measure_geometry(samples, HELEN, size, processes=1, track=untracked)
    assert geometry is not None
    return geometry


def test_centres_and_areas_are_those_of_the_labels(faces: Path) -> None:
    geometry = measured(faces, (72, 72))
    labels = [read_label(sample.label) for sample in DatasetFolder(faces).samples("train")]
    assert {label.shape for label in labels} == {(72, 72)}
    mouth = HELEN.ids(("upper_lip", "inner_mouth", "lower_lip"))
    for part, ids in enumerate([HELEN.ids(("left_eye",)), HELEN.ids(("right_eye",)), HELEN.ids(("nose",)), mouth]):
        places, areas = [], []
        for label in labels:
            found = [(x, y) for y in range(72) for x in range(72) if label[y, x] in ids]
            places.append(np.mean(found, axis=0))
            areas.append(len(found))
        np.testing.assert_allclose(geometry.centres[part], np.mean(places, axis=0) / 71, atol=1e-4)
        assert geometry.areas[part] == pytest.approx(np.mean(areas) / 71**2, rel=1e-3)
    assert geometry.count == len(labels)


def test_it_does_not_depend_on_the_crops_size(faces: Path) -> None:
    small, large = measured(faces, (72, 72)), measured(faces, (256, 256))
    np.testing.assert_allclose(small.centres, large.centres, atol=1e-4)
    np.testing.assert_allclose(small.areas, large.areas, rtol=1e-3)


def test_classes_that_do_not_tell_the_eyes_apart_give_none(faces: Path) -> None:
    samples = DatasetFolder(faces).samples("train")
    assert measure_geometry(samples, get_label_set("fasseg"), (64, 64), processes=1, track=untracked) is None
