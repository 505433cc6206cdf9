"""What a trained model is to those who use it, whatever file it comes from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.device import resolve_device
from faceparse.core.model.normalise import Normalise
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.names.model_file import short_name
from faceparse.core.runtime.licences import LICENCES
from faceparse.core.runtime.metadata import ExportedMetadata
from faceparse.core.settings import DataSettings, Settings


class Network(Protocol):
    """Crops of photographs -> logits, with whatever preprocessing that takes inside."""

    @property
    def input_size(self) -> Size: ...

    def __call__(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB crops of `input_size` -> N x C x H x W float32 logits."""


@runtime_checkable
class PictureNetwork(Network, Protocol):
    """A network that can look over whole pictures, too."""

    @property
    def any_size(self) -> bool:
        """Whether `coarse` takes pictures of any height and width that are multiples of 32."""

    def coarse(self, pictures: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB pictures -> N x C x h x w float32 logits, at 1/4 of the size or finer."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel(ABC):
    """A network, what its classes mean, and where it came from. A checkpoint is one, an exported file another."""

    path: Path
    settings: Settings
    label_set: LabelSet
    run_id: str | None = None
    """MLflow run that made it."""
    tracking_uri: str | None = None
    address: str | None = None
    """What it was loaded by, where `path` is a copy: models:/NAME/VERSION, hf:ORG/NAME@COMMIT, a URL, or the name of a
    shipped model."""
    epoch: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores on `val` when it was written."""
    geometry: FaceGeometry | None = None
    """Where faces lie in its training crops; None where nobody measured it."""
    own_licence: str | None = None
    """Its terms of use, where its file says them."""
    copy: object = field(default=None, compare=False, repr=False)
    """What keeps the temporary copy of a registered model, as long as the model is there."""

    @property
    def names_are_known(self) -> bool:
        """Whether the label set was written with the weights, not guessed from the number of classes."""
        return True

    @property
    def licence(self) -> str | None:
        """Its terms of use: a sentence, or a name such as `cc-by-4.0`. None where nobody knows."""
        return self.own_licence or LICENCES.get(self.label_set.name)

    @property
    def source(self) -> str:
        """What people know it by."""
        return self.address or str(self.path)

    @property
    def short_name(self) -> str:
        """Of what is made of it: `best.pth`, or `face-3` of a registered one."""
        return short_name(self.address) if self.address else self.path.name

    @property
    def home(self) -> Path:
        """Folder for what is made of it: its own, or the working folder where it is a copy."""
        return Path() if self.address else self.path.parent

    def device(self, name: str) -> torch.device:
        """The device of that name; `auto` is the best that the model runs on here.

        Raises:
            DeviceError: it is not there.
        """
        return resolve_device(name)

    @abstractmethod
    def network(self, device: torch.device, input_size: Size | None = None) -> Network:
        """The network, ready for use; `input_size` in place of its own.

        Raises:
            CheckpointError: the file does not hold what it should, or takes no other input size.
            DeviceError: it does not run on `device`.
        """


def model_fields(said: ExportedMetadata) -> dict[str, Any]:
    """The fields of `TrainedModel` that an exported file says."""
    return {
        "settings": said.settings,
        "label_set": said.label_set,
        "epoch": said.epoch,
        "scores": said.scores,
        "geometry": said.geometry,
        "own_licence": said.licence,
    }


class ParsingLogits(nn.Module):
    """N x 3 x H x W normalised images -> N x C x H x W parsing logits at the input's own size."""

    def __init__(self, model: ParsingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.parse(image)


class ParsingNetwork(nn.Module):
    """N x H x W x 3 uint8 RGB crops -> N x C x H x W parsing logits: the settings' preprocessing and the network."""

    def __init__(self, model: ParsingModel, settings: DataSettings) -> None:
        """The model's mode (train or eval) is the caller's to set."""
        super().__init__()
        self.normalise = Normalise(settings)
        self.logits = ParsingLogits(model)
        self.input_size: Size = settings.input_size

    any_size = True

    def forward(self, crops: Tensor) -> Tensor:
        return self.logits(self.normalise(crops))

    def coarse(self, pictures: Tensor) -> Tensor:
        return self.logits.model(self.normalise(pictures)).parsing
