"""Moments of labels, against a loop over pixels."""

import numpy as np

from faceparse.core.checking.moments import label_moments, stack_moments


def test_pixels_and_mean_places_as_a_loop_finds_them() -> None:
    label = np.random.default_rng(0).choice([0, 2, 3, 7, 255], (9, 14)).astype(np.uint8)
    found = label_moments(label, 8)
    for value in range(8):
        places = [(y, x) for y in range(9) for x in range(14) if label[y, x] == value]
        assert found.pixels[value] == len(places)
        if places:
            assert np.isclose(found.y[value], np.mean([(y + 0.5) / 9 for y, _ in places]))
            assert np.isclose(found.x[value], np.mean([(x + 0.5) / 14 for _, x in places]))
        else:
            assert np.isnan(found.x[value])
            assert np.isnan(found.y[value])
    assert found.present.tolist() == [True, False, True, True, False, False, False, True]


def test_a_set_has_a_row_for_each_label() -> None:
    labels = [np.full((4, 6), value, np.uint8) for value in (1, 255)]
    found = stack_moments([label_moments(label, 3) for label in labels], 3)
    assert found.pixels.tolist() == [[0, 24, 0], [0, 0, 0]]
    assert found.x[0, 1] == found.y[0, 1] == 0.5
    assert stack_moments([], 3).pixels.shape == (0, 3)
