"""A network as a function from photographs to label maps."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from faceparse.core.geometry import Size, unwarp_label
from faceparse.core.model.trained import Network, TrainedModel
from faceparse.core.preprocessing import prepare_photo

Later = Callable[[], np.ndarray]
"""An array that a device may still be busy with: calling waits for it."""


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
    return classes_later(logits)()


def classes_later(logits: Tensor) -> Later:
    """The same, without waiting for the device: whoever needs the ids calls for them, in whatever thread."""
    largest = logits.max(dim=-3).indices  # `argmax` takes five times as long on a CPU
    ids = largest.to(torch.uint8).to("cpu", non_blocking=True)
    if logits.device.type == "cpu":
        return ids.numpy
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(logits.device))

    def wait() -> np.ndarray:
        arrived.synchronize()
        return ids.numpy()

    return wait


def load_parser(trained: TrainedModel, device: torch.device, input_size: Size | None = None) -> Parser:
    """A parser with the model's own preprocessing; `input_size` overrides its crop."""
    return Parser(trained.network(device, input_size), device)
