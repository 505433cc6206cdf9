"""How unsure a model is, against a loop over pixels."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.faces.face import Face
from faceparse.core.images.crop import prepare_photo
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.photograph_states import Broken
from faceparse.core.prediction.uncertainty import Doubtful, mean_entropy, measure, photographs_with_doubt

HELEN = get_label_set("helen")


def slowly(views: list[np.ndarray]) -> tuple[float, float]:
    """Entropy and disagreement, pixel by pixel."""
    entropies, changed = [], []
    for view in views:
        half = len(view) // 2
        for place in np.ndindex(view.shape[1:]):
            first, second = view[:half, *place].astype(float), view[half:, *place]
            if first.argmax() == 0 and second.argmax() == 0:
                continue
            odds = [math.exp(one - first.max()) for one in first]
            shares = [one / sum(odds) for one in odds]
            entropies.append(-sum(one * math.log(one) for one in shares if one > 0) / math.log(half))
            changed.append(first.argmax() != second.argmax())
    return float(np.mean(entropies)), float(np.mean(changed))


def test_the_measure_is_that_of_a_loop_over_pixels() -> None:
    random = np.random.default_rng(0)
    views = [random.normal(0, 3, (10, 6, 7)).astype(np.float32) for _ in range(2)]
    views[0][5:] = views[0][:5] + random.normal(0, 1, (5, 6, 7))
    views[1][0, :3] = views[1][5, :3] = 50  # background in both views, which does not count
    doubt = measure(views)
    assert doubt is not None
    assert (doubt.entropy, doubt.disagreement) == pytest.approx(slowly(views), rel=1e-5)
    assert 0.1 < doubt.entropy < 0.9
    assert 0.1 < doubt.disagreement < 0.9
    assert doubt.uncertainty == doubt.entropy + doubt.disagreement


def test_the_entropy_without_a_mirror_image_is_the_same_where_the_face_pixels_are() -> None:
    random = np.random.default_rng(1)
    views = [random.normal(0, 2, (10, 5, 5)).astype(np.float32) for _ in range(2)]
    for view in views:
        view[0] = view[5] = -9  # no background in either view
    doubt = measure(views)
    assert doubt is not None
    assert mean_entropy([view[:5] for view in views]) == pytest.approx(doubt.entropy, rel=1e-5)
    views[0][0, :2] = 9  # background now, which does not count
    expected = slowly([np.concatenate([view[:5], view[:5]]) for view in views])
    assert mean_entropy([view[:5] for view in views]) == pytest.approx(expected[0], rel=1e-5)
    assert mean_entropy([]) is None
    views[0][0] = 9
    assert mean_entropy([views[0][:5]]) is None


def test_the_measure_goes_from_sure_to_a_guess() -> None:
    sure = np.zeros((8, 4, 4), np.float32)
    sure[[1, 5]] = 1e4  # as the logits of a file whose output is labels
    doubt = measure([sure])
    assert doubt is not None
    assert (doubt.entropy, doubt.disagreement) == (0, 0)
    guess = np.full((8, 4, 4), 3, np.float32)
    guess[6] = 3.0001
    doubt = measure([guess])
    assert doubt is not None
    assert (doubt.entropy, doubt.disagreement) == (pytest.approx(1), 1)


def test_background_alone_has_no_measure() -> None:
    nothing = np.zeros((8, 4, 4), np.float32)
    nothing[[0, 4]] = 9
    assert measure([nothing]) is None
    assert measure([]) is None


def test_photographs_are_measured_in_order_with_their_faces(parser: Parser, photographs: Path) -> None:
    (photographs / "a.jpg").write_bytes(b"broken")
    sources = [Source(str(photographs / name), name) for name in ("a.jpg", "b.PNG", "c.bmp")]
    broken, *found = photographs_with_doubt(parser, sources, HELEN, batch_size=2)
    assert isinstance(broken, Broken)
    assert broken.problem.startswith(f"{photographs / 'a.jpg'}: not a readable image")
    swap = HELEN.mirror_table()[: len(HELEN)]
    for one, source in zip(found, sources[1:], strict=True):
        assert isinstance(one, Doubtful)
        assert (one.source, one.faces) == (source, None)
        crop = prepare_photo(read_image(Path(source.where)), parser.input_size).crop
        straight, mirrored = (
            parser.logits(torch.from_numpy(view.copy())[None])[0].numpy() for view in (crop, crop[:, ::-1])
        )
        assert one.doubt is not None
        expected = slowly([np.concatenate([straight, mirrored[swap][:, :, ::-1]])])
        assert (one.doubt.entropy, one.doubt.disagreement) == pytest.approx(expected, rel=1e-4)


def test_a_photograph_without_a_face_has_no_measure(parser: Parser, photographs: Path) -> None:
    faces = {"a.jpg": [Face((10, 10, 30, 30)), Face((40, 36, 20, 20))], "b.PNG": []}
    sources = [Source(str(photographs / name), name) for name in faces]
    first, second = photographs_with_doubt(parser, sources, HELEN, finder=lambda where, image: faces[Path(where).name])
    assert isinstance(first, Doubtful)
    assert isinstance(second, Doubtful)
    assert (first.faces, first.doubt is None) == (2, False)
    assert (second.faces, second.doubt) == (0, None)


def test_a_damaged_network_is_an_error_and_no_number(photographs: Path) -> None:
    class Damaged:
        input_size = (8, 8)

        def __call__(self, crops: Tensor) -> Tensor:
            return torch.full((len(crops), 11, 8, 8), torch.nan)

    damaged = Parser(Damaged(), torch.device("cpu"))
    with pytest.raises(CheckpointError, match="nan or inf"):
        list(photographs_with_doubt(damaged, [Source(str(photographs / "a.jpg"), "a")], HELEN))
