import subprocess
import sys

import pytest
import torch
from torchvision.models import mobilenet_v2

from faceparse.core.model.mobilenet import ENDS, MobileNetV2
from tests.core.model.test_backbones import randomise

SIZE = (96, 160)


def test_it_computes_what_torchvisions_does() -> None:
    """Bit for bit, with torchvision's weights under their own names."""
    torch.manual_seed(3)
    theirs, ours = mobilenet_v2().features[: ENDS[-1] + 1].eval(), MobileNetV2().eval()
    randomise(theirs)
    ours.features.load_state_dict(theirs.state_dict())
    image = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        found = ours(image)
        x, expected = image, []
        for block in theirs:
            x = block(x)
            expected.append(x)
    for one, end in zip(found, ENDS, strict=True):
        assert torch.equal(one, expected[end])


def test_fresh_weights_are_drawn_as_torchvision_draws_them() -> None:
    """Zero mean, and a variance of two by the number of a convolution's outputs; norms change nothing."""
    torch.manual_seed(4)
    theirs, ours = mobilenet_v2().features[: ENDS[-1] + 1].state_dict(), MobileNetV2().features.state_dict()
    assert list(theirs) == list(ours)
    for name, weight in ours.items():
        if weight.dim() == 4 and weight.numel() > 2000:
            assert float(weight.std()) == pytest.approx(float(theirs[name].std()), rel=0.1)
            assert abs(weight.mean()) < 0.1 * weight.std()
        elif weight.dim() < 4:
            assert torch.equal(weight, theirs[name])


@pytest.mark.parametrize(("dilated", "strides"), [(False, (4, 8, 16, 32)), (True, (4, 8, 8, 8))])
def test_its_maps_have_its_channels(dilated: bool, strides: tuple[int, ...]) -> None:
    network = MobileNetV2(dilated=dilated).eval()
    assert network.channels == [24, 32, 96, 320]
    with torch.inference_mode():
        found = network(torch.randn(2, 3, *SIZE))
    shapes = [(2, c, SIZE[0] // s, SIZE[1] // s) for c, s in zip(network.channels, strides, strict=True)]
    assert [tuple(x.shape) for x in found] == shapes


def test_it_is_built_without_the_slow_import_of_torchvision() -> None:
    code = "import sys; from faceparse.core.model.mobilenet import MobileNetV2; MobileNetV2(); "
    subprocess.run([sys.executable, "-c", code + "assert 'torchvision' not in sys.modules"], check=True, timeout=60)
