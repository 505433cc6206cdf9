import numpy as np
import pytest
import torch

from faceparse.core.images.crop import normalise, prepare_photo
from faceparse.core.model.normalise import Normalise
from faceparse.core.settings import DataSettings

RANDOM = np.random.default_rng(0)


def test_the_whole_photograph_goes_into_the_crop() -> None:
    image = RANDOM.integers(0, 256, (30, 60, 3), dtype=np.uint8)
    photo = prepare_photo(image, (32, 61))
    assert photo.crop.shape == (32, 61, 3)
    assert photo.size == (30, 60)
    left, right = (photo.matrix @ [x, 14.5, 1] for x in (0, 59))
    assert np.allclose([left, right], [(0, 15.5), (60, 15.5)])


def test_a_photograph_of_the_crops_size_is_the_crop() -> None:
    image = RANDOM.integers(0, 256, (32, 61, 3), dtype=np.uint8)
    assert np.array_equal(prepare_photo(image, (32, 61)).crop, image)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_numpy_normalises_as_the_networks_own_layer_does(order: str) -> None:
    settings = DataSettings.model_validate({"channel_order": order, "mean": (0.4, 0.5, 0.6), "input_size": (32, 40)})
    crops = RANDOM.integers(0, 256, (3, 32, 40, 3), dtype=np.uint8)
    found = normalise(crops, bgr=order == "bgr", mean=settings.mean, std=settings.std)
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_allclose(found, Normalise(settings)(torch.from_numpy(crops)).numpy(), atol=1e-5)
    channel = 2 if order == "rgb" else 0  # the last plane's, which is normalised by the last numbers either way
    expected = (crops[..., channel] / 255 - settings.mean[2]) / settings.std[2]
    np.testing.assert_allclose(found[:, 2], expected, atol=1e-5)
