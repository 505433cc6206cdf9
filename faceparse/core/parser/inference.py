"""Run a network as a function from photographs to label maps."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.faces.windows import ANY, PictureSizes, fixed
from faceparse.core.images.crop import Fit, prepare_photo
from faceparse.core.images.warp import Size, enlarge_logits
from faceparse.core.machine.device import copy_to_device
from faceparse.core.parser.trained import Network, PictureNetwork, TrainedModel

NOT_FINITE = "the network answers with what is no number (nan or inf); its weights are damaged, copy them again"

PendingArray = Callable[[], np.ndarray]
"""Function that waits until a device has computed an array, and returns it."""


class Parser:
    """Turns crops and photographs into labels.

    Each label has the size of its photograph:

        parser = load_parser(read_checkpoint(Path("best.pth")), torch.device("cpu"))
        labels = parser.parse([image])
    """

    def __init__(self, network: Network, device: torch.device, fit: Fit = "crop") -> None:
        """Use `network`, which is already on `device`. `fit` says how a whole photograph fills its input."""
        self.network, self.fit = network, fit
        self.input_size = network.input_size
        self.device = device

    @torch.inference_mode()
    def logits(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB -> N x C x H x W logits on the device."""
        return self.network(copy_to_device(crops, self.device))

    @property
    def picture_sizes(self) -> PictureSizes:
        """Sizes of the pictures that `part_maps` takes."""
        any_size = isinstance(self.network, PictureNetwork) and self.network.any_size
        return ANY if any_size else fixed(self.input_size)

    @torch.inference_mode()
    def part_maps(self, pictures: np.ndarray, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """N x H x W x 3 uint8 RGB pictures -> N x P x h x w float32 probabilities of P sets of classes.

        The maps have 1/4 of the pictures' size or more.

        Args:
            parts: the class ids of each set.

        Raises:
            CheckpointError: a probability is no number.
        """
        assert isinstance(self.network, PictureNetwork)
        logits = self.network.coarse(copy_to_device(torch.from_numpy(pictures), self.device))
        probabilities = logits.softmax(dim=1)
        maps = torch.stack([probabilities[:, list(ids)].sum(dim=1) for ids in parts], dim=1).float().cpu().numpy()
        if not np.isfinite(maps.max(initial=0)):
            raise CheckpointError(NOT_FINITE)
        return maps

    def parse_crops(self, crops: Tensor) -> np.ndarray:
        """N x H x W x 3 uint8 RGB -> N x H x W uint8 ids."""
        return classes_of(self.logits(crops))

    def parse(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Photographs (H x W x 3 uint8 RGB, any sizes) -> labels at their own sizes."""
        photos = [prepare_photo(image, self.input_size, self.fit) for image in images]
        logits = self.logits(torch.from_numpy(np.stack([photo.crop for photo in photos])))
        return [
            enlarge_logits(copy_to_host(one)(), photo.matrix, photo.size)
            for one, photo in zip(logits, photos, strict=True)
        ]


def classes_of(logits: Tensor) -> np.ndarray:
    """(N x) C x H x W logits -> (N x) H x W uint8 ids of the largest.

    Raises:
        CheckpointError: a largest logit is no number.
    """
    largest = logits.max(dim=-3)  # `argmax` takes five times as long on a CPU
    ids = largest.indices.to(torch.uint8).cpu().numpy()
    if not largest.values.isfinite().all():
        raise CheckpointError(NOT_FINITE)
    return ids


def copy_to_host(logits: Tensor) -> PendingArray:
    """Copy C x h x w logits to the CPU as float32, without waiting for a CUDA GPU.

    Call the result, in any thread, to wait for the array. The call raises CheckpointError where the largest logit is
    no number.
    """
    cuda = logits.device.type == "cuda"
    here = logits.float().to("cpu", non_blocking=cuda)
    arrived = None
    if cuda:
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(logits.device))

    def wait() -> np.ndarray:
        if arrived is not None:
            arrived.synchronize()
        answer = here.numpy()
        if not np.isfinite(answer.max(axis=0)).all():
            raise CheckpointError(NOT_FINITE)
        return answer

    return wait


def load_parser(trained: TrainedModel, device: torch.device, input_size: Size | None = None) -> Parser:
    """A parser with the model's own preprocessing; `input_size` overrides its crop."""
    return Parser(trained.network(device, input_size), device, trained.fit)
