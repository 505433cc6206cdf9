"""A trained network as a function from photographs to label maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from faceparse.core.data.dataset import Normalise, prepare_photo
from faceparse.core.geometry import unwarp_label
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.model.resnet import resize
from faceparse.core.model.weights import Checkpoint, load_model
from faceparse.core.settings import DataSettings


class ParsingLogits(nn.Module):
    """N x 3 x H x W normalised images -> N x C x H x W parsing logits at the input's own size."""

    def __init__(self, model: EAGRNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return resize(self.model(image).parsing, image.shape[2:])


class Parser:
    """Crops and photographs -> labels. The network's mode (train or eval) is the caller's to set."""

    def __init__(self, model: EAGRNet, settings: DataSettings, device: torch.device) -> None:
        self.network = ParsingLogits(model)
        self.normalise = Normalise(settings).to(device)
        self.input_size = settings.input_size
        self.device = device

    @torch.inference_mode()
    def logits(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB -> N x C x H x W logits on the device."""
        return self.network(self.normalise(crops.to(self.device, non_blocking=True)))

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


def load_parser(checkpoint: Checkpoint, device: torch.device, input_size: tuple[int, int] | None = None) -> Parser:
    """A parser with the checkpoint's own preprocessing; `input_size` overrides its crop."""
    settings = checkpoint.settings.data
    if input_size is not None:
        settings = settings.model_copy(update={"input_size": input_size})
    return Parser(load_model(checkpoint, device), settings, device)
