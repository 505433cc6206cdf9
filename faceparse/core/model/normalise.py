"""The first layer of every network: the bytes of a crop become numbers."""

import torch
from torch import Tensor, nn

from faceparse.core.images.crop import scale_and_shift
from faceparse.core.settings import DataSettings


class Normalise(nn.Module):
    """N x H x W x 3 uint8 RGB -> N x 3 x H x W float32.

    Channels are ordered, scaled to 0..1, minus mean, divided by std. Fastest at the width of `settings.input_size`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, settings: DataSettings) -> None:
        super().__init__()
        self.bgr = settings.channel_order == "bgr"
        # Work on a whole row of pixels at a time: three channels are too few for a processor's vectors.
        width = settings.input_size[1]
        scale, shift = map(torch.from_numpy, scale_and_shift(settings.mean, settings.std))
        self.register_buffer("scale", scale.repeat(width), persistent=False)
        self.register_buffer("shift", shift.repeat(width), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return the numbers, row by row where the width is that of the settings."""
        if 3 * image.shape[2] != len(self.scale):
            return self.at_any_width(image)
        if self.bgr:
            image = image.flip(3)
        rows = image.flatten(2).float()
        return torch.addcmul(self.shift, rows, self.scale, out=rows).view(image.shape).permute(0, 3, 1, 2)

    def at_any_width(self, image: Tensor) -> Tensor:
        """Return the same numbers, pixel by pixel."""
        if self.bgr:
            image = image.flip(3)
        return torch.addcmul(self.shift[:3], image.float(), self.scale[:3]).permute(0, 3, 1, 2)
