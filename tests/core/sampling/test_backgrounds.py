from pathlib import Path

import numpy as np
import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_png
from faceparse.core.sampling.augmentation import Window
from faceparse.core.sampling.backgrounds import LONGEST, Backgrounds


def folder(tmp_path: Path, *sizes: tuple[int, int]) -> Path:
    """Pictures whose red grows to the right and green downwards, blue being the picture's number."""
    for number, (height, width) in enumerate(sizes):
        y, x = np.mgrid[:height, :width]
        picture = np.stack([255 * x / (width - 1), 255 * y / (height - 1), np.full_like(x, 40 * number)], axis=2)
        write_atomic(tmp_path / f"{number}.png", encode_png(picture.round().astype(np.uint8)))
    return tmp_path


def test_a_window_is_a_square_piece_of_one_picture(tmp_path: Path) -> None:
    backgrounds = Backgrounds(folder(tmp_path, (200, 300), (100, 400)))
    assert len(backgrounds) == 2
    piece = backgrounds.window(Window(picture=0.6, left=0.5, top=0.0, side=1.0), (64, 64))
    assert piece.shape == (64, 64, 3)
    assert abs(piece[..., 2].astype(int) - 40).max() <= 1
    # All of the height, and as much of the width, in its middle.
    assert piece[0, :, 1].max() < 5
    assert piece[-1, :, 1].min() > 250
    assert piece[:, 0, 0].mean() == pytest.approx(255 * 150 / 399, abs=3)
    assert piece[:, -1, 0].mean() == pytest.approx(255 * 249 / 399, abs=3)


def test_the_smallest_window_is_a_quarter_of_the_shorter_side(tmp_path: Path) -> None:
    backgrounds = Backgrounds(folder(tmp_path, (200, 300)))
    piece = backgrounds.window(Window(picture=0.0, left=1.0, top=1.0, side=0.0), (32, 48))
    assert piece.shape == (32, 48, 3)
    assert piece[0, 0, 1] == pytest.approx(255 * 150 / 199, abs=5)
    assert piece[-1, -1].tolist()[:2] == [255, 255]


def test_large_pictures_are_kept_small(tmp_path: Path) -> None:
    backgrounds = Backgrounds(folder(tmp_path, (60, 2 * LONGEST)))
    assert backgrounds._picture(0).shape == (30, LONGEST, 3)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"data.backgrounds = .*nowhere: no such folder"):
        Backgrounds(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no pictures in it"):
        Backgrounds(tmp_path)
