"""MobileNetV2 (Sandler et al., CVPR 2018): four feature maps for the heads.

Layers and the names of weights are torchvision's, so that weights fit both ways. torchvision itself imports PyTorch's
compiler, which takes about as long as PyTorch.
"""

from torch import Tensor, nn

from faceparse.core.model.backbones import Backbone

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Table 2 of the paper, without its last 1 x 1 convolution: expansion, channels, blocks, stride of the first block."""

ENDS = (3, 6, 13, 17)
"""Blocks after which a map is taken: 24, 32, 96 and 320 channels."""


def conv_norm(c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; a block that keeps the shape adds its input (figure 4 of the paper)."""

    def __init__(self, c_in: int, c_out: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * c_in
        expand = [conv_norm(c_in, hidden, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 without its last 1 x 1 convolution and its classifier.

    `dilated`: its maps at 1/16 and 1/32 stay at 1/8.
    """

    def __init__(self, *, dilated: bool = False) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_norm(3, 32, 3, stride=2)]
        c_in, channels = 32, [32]
        for expansion, c_out, count, stride in STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(InvertedResidual(c_in, c_out, stride=step, expansion=expansion))
                channels.append(c_in := c_out)
        self.features = nn.Sequential(*blocks)
        self.channels = [channels[end] for end in ENDS]
        for conv in [module for module in self.modules() if isinstance(module, nn.Conv2d)]:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
        if dilated:
            _dilate(self.features[ENDS[1] + 1 :])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the four maps, from fine to coarse."""
        maps, x = [], image
        for number, block in enumerate(self.features):
            x = block(x)
            if number in ENDS:
                maps.append(x)
        return maps


def mobilenet_v2(*, dilated: bool = False) -> Backbone:
    """Build MobileNetV2 with fresh weights. `dilated`: its maps at 1/16 and 1/32 stay at 1/8."""
    network = MobileNetV2(dilated=dilated)
    return Backbone(network, network.channels)


def _dilate(blocks: nn.Module) -> None:
    """Replace each stride of 2 by a dilation of all later convolutions (Yu and Koltun, ICLR 2016)."""
    rate = 1
    for conv in [module for module in blocks.modules() if isinstance(module, nn.Conv2d)]:
        if conv.stride == (2, 2):
            conv.stride = (1, 1)  # this convolution keeps the old dilation; later ones get the doubled one
        elif rate > 1 and conv.kernel_size != (1, 1):
            conv.dilation = conv.padding = (rate, rate)
            continue
        else:
            continue
        conv.dilation = conv.padding = (rate, rate)
        rate *= 2
