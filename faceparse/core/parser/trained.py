"""Interface of a trained model, whatever file it comes from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.images.crop import Fit
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.device import resolve_device
from faceparse.core.model.normalise import Normalise
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.names.model_file import short_name
from faceparse.core.runtime.licences import LICENCES
from faceparse.core.runtime.metadata import ExportedMetadata, Foreign
from faceparse.core.settings import DataSettings, Settings


class Network(Protocol):
    """A network with its preprocessing: crops of photographs -> logits."""

    @property
    def input_size(self) -> Size:
        """Height and width of the crops."""

    def __call__(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB crops of `input_size` -> N x C x H x W float32 logits."""


@runtime_checkable
class PictureNetwork(Network, Protocol):
    """A network that can also look over whole pictures."""

    @property
    def any_size(self) -> bool:
        """Whether `coarse` takes pictures of any height and width that are multiples of 32."""

    def coarse(self, pictures: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB pictures -> N x C x h x w float32 logits, at 1/4 of the size or finer."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel(ABC):
    """A network, the meaning of its classes, and its origin: a checkpoint or an exported file."""

    path: Path
    settings: Settings
    """Settings of its training; of a `foreign` network, only how a picture becomes its input."""
    label_set: LabelSet
    run_id: str | None = None
    """MLflow run that made it."""
    tracking_uri: str | None = None
    address: str | None = None
    """Name that the model was loaded by, where `path` is a copy; else None.

    It is models:/NAME/VERSION, hf:ORG/NAME@COMMIT, a URL, or the name of a shipped model.
    """
    epoch: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores on `val` when it was written."""
    geometry: FaceGeometry | None = None
    """Where faces lie in its training crops; None where this was not measured."""
    fit: Fit = "crop"
    """How a whole photograph fills its input."""
    foreign: Foreign | None = None
    """Origin of a network that faceparse did not train, else None."""
    own_licence: str | None = None
    """Terms of use that its file states."""
    copy: object = field(default=None, compare=False, repr=False)
    """Object that keeps the temporary copy of a registered model, as long as the model exists."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that hold its weights."""
        return (self.path,)

    @property
    def names_are_known(self) -> bool:
        """Whether the label set was written with the weights, not guessed from the number of classes."""
        return True

    @property
    def notes(self) -> list[str]:
        """Lines for users of its answers; empty unless its classes were mapped."""
        return []

    @property
    def part_classes(self) -> LabelSet:
        """Label set of the logits of `PictureNetwork.coarse`, in whose classes the model finds faces."""
        return self.label_set

    @property
    def trained_on(self) -> Path | None:
        """Folder of the dataset that it was trained on; None for a foreign network."""
        return None if self.foreign else self.settings.data.root

    @property
    def licence(self) -> str | None:
        """Terms of use: a sentence, or a name such as `cc-by-4.0`. None where they are unknown."""
        return self.own_licence or LICENCES.get(self.label_set.name)

    @property
    def source(self) -> str:
        """Name that people know the model by: its address, or the path of its file."""
        return self.address or str(self.path)

    @property
    def short_name(self) -> str:
        """Short name for files made from the model: `best.pth`, or `face-3` for a registered one."""
        return short_name(self.address) if self.address else self.path.name

    @property
    def home(self) -> Path:
        """Folder for files made from the model: its own, or the working folder where `path` is a copy."""
        return Path() if self.address else self.path.parent

    def device(self, name: str) -> torch.device:
        """Device of that name; `auto` is the best device here that the model runs on.

        Raises:
            DeviceError: there is no such device.
        """
        return resolve_device(name)

    @abstractmethod
    def network(self, device: torch.device, input_size: Size | None = None) -> Network:
        """Return the network, ready for use; `input_size` replaces its own.

        Raises:
            CheckpointError: the file has missing or wrong content, or takes no other input size.
            DeviceError: the network does not run on `device`.
        """


def model_fields(said: ExportedMetadata) -> dict[str, Any]:
    """Fields of `TrainedModel` that an exported file states."""
    return {
        "settings": said.settings,
        "label_set": said.label_set,
        "epoch": said.epoch,
        "scores": said.scores,
        "geometry": said.geometry,
        "fit": said.fit,
        "foreign": said.foreign,
        "own_licence": said.licence,
    }


class ParsingLogits(nn.Module):
    """N x 3 x H x W normalised images -> N x C x H x W parsing logits at the input's own size."""

    def __init__(self, model: ParsingModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Parsing logits of normalised images."""
        return self.model.parse(image)


class ParsingNetwork(nn.Module):
    """N x H x W x 3 uint8 RGB crops -> N x C x H x W parsing logits: the settings' preprocessing and the network."""

    def __init__(self, model: ParsingModel, settings: DataSettings) -> None:
        """Use `model`, whose mode (train or eval) the caller sets."""
        super().__init__()
        self.normalise = Normalise(settings)
        self.logits = ParsingLogits(model)
        self.input_size: Size = settings.input_size

    any_size = True

    def forward(self, crops: Tensor) -> Tensor:
        """Parsing logits of crops."""
        return self.logits(self.normalise(crops))

    def coarse(self, pictures: Tensor) -> Tensor:
        """Parsing logits of whole pictures, at the network's own lower resolution."""
        return self.logits.model(self.normalise(pictures)).parsing
