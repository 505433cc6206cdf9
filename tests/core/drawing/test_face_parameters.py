"""The parameters of drawn faces stay within their limits."""

import numpy as np

from faceparse.core.drawing.face_parameters import sample_parameters


def test_head_fills_the_promised_part_of_the_picture() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        assert 0.55 <= 2 * sample_parameters(rng).scale <= 0.85
