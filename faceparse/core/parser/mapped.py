"""A trained model that answers in the classes of another label set."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from faceparse.core.errors import SettingsError
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.labels.mapping import ClassMapping, known_mapping, map_classes, read_mapping
from faceparse.core.parser.trained import Network, PictureNetwork, TrainedModel

ABSENT = 20.0
"""How far the logit of a class that the model does not know lies under its least one."""


@dataclass(frozen=True, kw_only=True)
class MappedModel(TrainedModel):
    """A model seen through a class mapping. It finds faces as the model itself does. Get one from `map_model`."""

    original: TrainedModel
    mapping: ClassMapping

    @property
    def names_are_known(self) -> bool:
        """Whether the label set was written with the weights."""
        return self.original.names_are_known

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the model itself."""
        return self.original.files

    @property
    def notes(self) -> list[str]:
        """Lines on what the mapping merged, and on what the sets count differently."""
        return self.original.notes + self.mapping.notes()

    @property
    def part_classes(self) -> LabelSet:
        """The model's own classes."""
        return self.original.part_classes

    @property
    def licence(self) -> str | None:
        """Terms of use of the model itself."""
        return self.original.licence

    def device(self, name: str) -> torch.device:
        """Device of that name, as of the model itself."""
        return self.original.device(name)

    def network(self, device: torch.device, input_size: Size | None = None) -> Network:
        """The model's network, with the logits of the new classes."""
        network = self.original.network(device, input_size)
        kind = MappedPictureNetwork if isinstance(network, PictureNetwork) else MappedNetwork
        return kind(network, self.mapping)


def map_model(model: TrainedModel, mapping: ClassMapping) -> TrainedModel:
    """The model in the mapping's new classes; the model itself where nothing changes.

    Raises:
        SettingsError: the mapping ignores classes. A model answers at every pixel, so each needs a class.
    """
    if mapping.is_identity and mapping.target == model.label_set:
        return model
    if mapping.ignored:
        name = mapping.source.names[mapping.ignored[0]]
        raise SettingsError(
            f"{model.source}: its class {name!r} is ignored by the mapping, but a prediction needs a class; add it to "
            "one, such as the background"
        )
    kept = {one.name: getattr(model, one.name) for one in fields(TrainedModel)} | {"label_set": mapping.target}
    return MappedModel(**kept, original=model, mapping=mapping)


def in_classes(model: TrainedModel, label_set: str | None, file: Path | None) -> TrainedModel:
    """The model with answers in the classes of a label set, by a known mapping or by a file's.

    Args:
        label_set: name or TOML file of the set. Default: the one that the file makes.
        file: mapping file.

    Raises:
        SettingsError: the set or the file does not exist, or the model's classes cannot be mapped.
    """
    target = get_label_set(label_set) if label_set is not None else None
    if file is not None:
        return map_model(model, map_classes(read_mapping(file), model.label_set, target))
    if target is None:
        return model
    if (mapping := known_mapping(model.label_set, target)) is None:
        raise SettingsError(
            f"{model.source}: no known mapping from the classes of {model.label_set.name} to those of {target.name}; "
            "write one as --mapping FILE"
        )
    return map_model(model, mapping)


class MappedNetwork:
    """A network whose logits are those of a mapping's new classes."""

    def __init__(self, network: Network, mapping: ClassMapping) -> None:
        self.inner, self.mapping = network, mapping

    @property
    def input_size(self) -> Size:
        """Height and width of the crops."""
        return self.inner.input_size

    def __call__(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB crops -> N x C x H x W float32 logits of the new classes."""
        return map_logits(self.inner(crops), self.mapping)


class MappedPictureNetwork(MappedNetwork):
    """The same for a network that can also look over whole pictures."""

    inner: PictureNetwork

    @property
    def any_size(self) -> bool:
        """Whether `coarse` takes pictures of any size, as the network itself says."""
        return self.inner.any_size

    def coarse(self, pictures: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB pictures -> logits of the model's own classes, in which it finds faces."""
        return self.inner.coarse(pictures)


def map_logits(logits: Tensor, mapping: ClassMapping) -> Tensor:
    """N x C x H x W logits of the old classes -> logits of the new ones.

    The probability of a class is the sum of its old classes' probabilities. That of a class that the network does not
    know is practically 0.
    """
    mapped = logits.new_empty(logits.shape[0], len(mapping.groups), *logits.shape[2:])
    for new, ids in enumerate(mapping.groups):
        if not ids:
            mapped[:, new] = logits.amin(dim=1) - ABSENT
        elif len(ids) == 1:
            mapped[:, new] = logits[:, ids[0]]
        else:
            torch.logsumexp(logits[:, list(ids)], dim=1, out=mapped[:, new])
    return mapped
