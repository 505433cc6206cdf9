"""A network as a function from photographs to label maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from faceparse.core.data.dataset import prepare_photo
from faceparse.core.geometry import Size, unwarp_label
from faceparse.core.model.trained import Network, TrainedModel


class Parser:
    """Crops and photographs -> labels."""

    def __init__(self, network: Network, device: torch.device) -> None:
        """`network` is on `device`."""
        self.network = network
        self.input_size = network.input_size
        self.device = device

    @torch.inference_mode()
    def logits(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB -> N x C x H x W logits on the device."""
        return self.network(crops.to(self.device, non_blocking=True))

    def parse_crops(self, crops: Tensor) -> np.ndarray:
        """N x H x W x 3 uint8 RGB -> N x H x W uint8 ids."""
        return classes_of(self.logits(crops))

    def parse(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Photographs (H x W x 3 uint8 RGB, any sizes) -> labels at their own sizes."""
        photos = [prepare_photo(image, self.input_size) for image in images]
        labels = self.parse_crops(torch.from_numpy(np.stack([photo.crop for photo in photos])))
        return [unwarp_label(label, photo.matrix, photo.size) for label, photo in zip(labels, photos, strict=True)]


def classes_of(logits: Tensor) -> np.ndarray:
    """(N x) C x H x W logits -> (N x) H x W uint8 ids of the largest."""
    return logits.argmax(dim=-3).to(torch.uint8).cpu().numpy()


def load_parser(trained: TrainedModel, device: torch.device, input_size: Size | None = None) -> Parser:
    """A parser with the model's own preprocessing; `input_size` overrides its crop."""
    return Parser(trained.network(device, input_size), device)
