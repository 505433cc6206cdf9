import numpy as np
import pytest

from faceparse.core.annotations.runs_shape import RunsShape, box_of, int_lengths, lengths_of


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_mask_is_drawn_again_from_its_runs(by_columns: bool) -> None:
    random = np.random.default_rng(0)
    for share in (0, 0.1, 0.9, 1):
        mask = random.random((7, 5)) < share
        lengths = lengths_of(mask, by_columns=by_columns)
        assert all(lengths[1:])
        part = RunsShape(np.array(lengths), (7, 5), by_columns=by_columns).part((7, 5))
        assert np.array_equal(part.inside, mask)


def test_runs_of_a_box_lie_where_the_box_is() -> None:
    mask = np.zeros((9, 8), bool)
    mask[3:6, 2:7] = [[0, 1, 1, 0, 0], [1, 1, 0, 0, 1], [0, 0, 1, 0, 0]]
    rows, columns = box_of(mask)
    assert (rows, columns) == (slice(3, 6), slice(2, 7))
    part = RunsShape(np.array(lengths_of(mask[rows, columns])), (3, 5), (2, 3)).part((9, 8))
    assert (part.rows, part.columns) == (rows, columns)
    assert np.array_equal(part.inside, mask[rows, columns])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (RunsShape(np.array([12]), (3, 4)), "a mask of 4 x 3, its picture is 5 x 6"),
        (RunsShape(np.array([4, 4]), (3, 3), (4, 4)), "a mask of 3 x 3 at (4, 4), outside the picture of 5 x 6"),
        (RunsShape(np.array([4, 4]), (3, 3), (-1, 0)), "a mask of 3 x 3 at (-1, 0), outside the picture of 5 x 6"),
        (RunsShape(np.array([4, 4]), (3, 3), (0, 0)), "its runs do not add up to 3 x 3 pixels; export it again"),
        (RunsShape(np.array([40, -10]), (6, 5)), "its runs do not add up to 5 x 6 pixels; export it again"),
        (
            RunsShape(np.array([2**62, 2**62, 2**62, 2**62, 30]), (6, 5)),
            "its runs do not add up to 5 x 6 pixels; export it again",
        ),
        (RunsShape(np.array([10**15]), (6, 5)), "its runs do not add up to 5 x 6 pixels; export it again"),
    ],
)
def test_runs_of_another_picture_are_refused(shape: RunsShape, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        shape.part((6, 5))
    assert str(caught.value) == expected


def test_lengths_beyond_64_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than any picture"):
        int_lengths([2**70])
