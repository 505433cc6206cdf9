from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceparse.core.api import FaceParser
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.faces.choose_finder import AUTO, check_min_face, choose_finder
from faceparse.core.faces.own_finder import finds_faces, own_finder
from faceparse.core.images.warp import apply
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.settings import DataSettings
from tests.core.faces.test_finder import CENTRES, GEOMETRY, draw_face
from tests.core.prediction.painted import HELEN, Painted


@pytest.fixture(scope="module")
def painted() -> Parser:
    return Parser(ParsingNetwork(Painted(), DataSettings(input_size=(96, 96))), torch.device("cpu"))


def test_each_face_of_a_picture_is_parsed_where_it_is(painted: Parser) -> None:
    picture = np.full((300, 420, 3), 90, np.uint8)
    drawn = [draw_face(picture, 120, 140, 160, 20), draw_face(picture, 320, 160, 120, -30)]
    result = FaceParser(painted, HELEN, GEOMETRY).predict(picture)
    assert result.faces is not None
    assert len(result.faces) == 2
    for centres in drawn:
        (face,) = (face for face in result.faces if np.linalg.norm(face.points[:3].mean(0) - centres[:3].mean(0)) < 9)
        assert face.score > 0.7
        np.testing.assert_allclose(apply(face.matrix, centres), CENTRES * 95, atol=3)
        assert face.labels.shape == (96, 96)
        assert face.probabilities.shape == (11, 96, 96)
        np.testing.assert_allclose(face.probabilities.sum(axis=0), 1, atol=1e-5)
        for (x, y), name in zip(centres, ("left_eye", "right_eye", "nose", "inner_mouth"), strict=True):
            assert HELEN.names[result.labels[round(y), round(x)]] == name
            assert result.owner[round(y), round(x)] > 0
    first, second = (result.owner[round(c[2, 1]), round(c[2, 0])] for c in drawn)
    assert {int(first), int(second)} == {1, 2}
    assert result.probabilities.shape == (11, 300, 420)
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-4)


def test_without_a_face_all_is_background(painted: Parser) -> None:
    parser = FaceParser(painted, HELEN, GEOMETRY)
    empty = np.full((80, 100, 3), 90, np.uint8)
    result = parser.predict(empty)
    assert result.faces == ()
    assert not result.labels.any()
    assert result.probabilities[0].min() == 1
    whole = parser.predict(empty, faces="none")
    assert whole.faces is None
    assert (whole.labels == 1).all()


def test_a_model_of_unaligned_pictures_parses_them_as_a_whole(painted: Parser) -> None:
    scattered = replace(GEOMETRY, spread=((0.01, 0.2),) * 4)
    for geometry in (None, scattered):
        result = FaceParser(painted, HELEN, geometry).predict(np.full((80, 100, 3), 90, np.uint8))
        assert result.faces is None
        assert (result.labels == 1).all()
    assert not finds_faces(scattered, HELEN)
    assert finds_faces(GEOMETRY, HELEN)
    assert own_finder(painted, GEOMETRY, get_label_set("fasseg")) is None  # one class for both eyes


@pytest.mark.parametrize("share", [0.0, 1.5, -1])
def test_a_face_is_a_share_of_the_picture(share: float) -> None:
    with pytest.raises(SettingsError, match="a share of the picture's height, from 0.01 to 1"):
        check_min_face(share)


def test_the_finder_is_auto_or_none_or_a_file(tmp_path: Path) -> None:
    assert choose_finder(AUTO) == "auto"
    assert choose_finder("none") is None
    with pytest.raises(SettingsError, match="not auto, none"):
        choose_finder("atuo")
    with pytest.raises(DatasetError, match="No such file"):
        choose_finder(str(tmp_path / "yunet.onnx"))
