"""Start a new network from the weights of another network, or of its backbone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError, FaceparseError, SettingsError
from faceparse.core.labels.label_set import LabelSet, builtin_label_sets
from faceparse.core.labels.mapping import MappingFile, closest_mapping, map_classes
from faceparse.core.model.backbones import TimmFeatures, timm_backbone
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.model.resnet import ResNet
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint, read_weights_file
from faceparse.core.parser.exact_weights import State, load_exactly
from faceparse.core.parser.released_names import from_released, is_released


@dataclass(frozen=True)
class LoadReport:
    """Result of an initialisation: the weights that a new network took from a file."""

    kind: str
    loaded: int
    skipped: tuple[str, ...] = ()
    """Keys of the network's backbone that the file did not fill."""
    unused: tuple[str, ...] = ()
    """Keys of the file that the network has no place for."""
    classes: str = ""
    """Where the classifier's rows come from, if the weights are of another label set."""

    def __str__(self) -> str:
        parts = [f"{self.kind}: {self.loaded} tensors loaded"]
        for keys, what in ((self.skipped, "left at random"), (self.unused, "of the file not used")):
            if keys:
                parts.append(f"{len(keys)} {what} ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})")
        return ", ".join(parts) + (f"; {self.classes}" if self.classes else "")


def initialise(
    model: ParsingModel,
    path: Path,
    backbone: str,
    label_set: LabelSet | None = None,
    mapping: MappingFile | None = None,
) -> LoadReport:
    """Start `model` from a checkpoint (ours or released) or from the weights of its backbone.

    A checkpoint must be of the same network. If its classes are others, the classifier's rows are filled by class name
    or by the mapping, and the rows of new classes stay at random. A ResNet may have another stem than the network.
    Tensors that do not fit stay as they are and are reported.

    Args:
        backbone: value of the setting `model.backbone`.
        label_set: classes of `model`. Default: those of the checkpoint.
        mapping: file that says which of the checkpoint's classes become which of `label_set`.

    Raises:
        CheckpointError: the file cannot be read, or is of another network.
        SettingsError: the mapping does not fit the classes, or the weights have no classes.
    """
    found = read_weights_file(path)
    if isinstance(found, Checkpoint) or is_released(found):
        checkpoint = found if isinstance(found, Checkpoint) else read_checkpoint(path)
        return _initialise_from_checkpoint(model, checkpoint, label_set, mapping)
    if mapping is not None:
        raise SettingsError(f"model.mapping: {path} has no classes to map; drop one of the two")
    if isinstance(model.backbone, ResNet):
        return _initialise_resnet(model, found, path)
    if isinstance(model.backbone, TimmFeatures):
        return initialise_from_timm(model, backbone, found, path)
    return _initialise_mobilenet(model, found, path)


def _initialise_from_checkpoint(
    model: ParsingModel, checkpoint: Checkpoint, label_set: LabelSet | None, mapping: MappingFile | None
) -> LoadReport:
    kind = "checkpoint" if checkpoint.origin == "faceparse" else "released EAGRNet"
    path, released = checkpoint.path, checkpoint.origin == "released"
    theirs, ours = checkpoint.label_set, label_set or checkpoint.label_set
    # A released file does not name its classes: with as many as ours, they count as ours.
    alike = theirs.agrees_with(ours) or (released and len(theirs) == len(ours))
    if alike and mapping is None:
        load_exactly(model, checkpoint.weights, path, released=released)
        return LoadReport(kind, len(checkpoint.weights))
    if mapping is None and theirs.name not in builtin_label_sets() and not checkpoint.names_are_known:
        raise CheckpointError(
            f"{path}: has {len(theirs)} classes and does not name them, the dataset {len(ours)}; say which become "
            "which with --mapping, or start from the backbone's weights alone: --restore-from imagenet"
        )
    to_ours = map_classes(mapping, theirs, ours, partial=True) if mapping is not None else closest_mapping(theirs, ours)
    weights, state = dict(checkpoint.weights), model.state_dict()
    rows = [key for key in state if key.startswith(f"{model.classifier}.") and key in weights]
    for key in rows:
        if len(weights[key]) != len(theirs):
            raise CheckpointError(f"{path}: key {key!r} has {len(weights[key])} rows for {len(theirs)} classes")
        filled = state[key].clone()
        for new, old in enumerate(to_ours.groups):
            if old and filled.shape[1:] == weights[key].shape[1:]:
                filled[new] = weights[key][list(old)].to(filled.dtype).mean(dim=0)
        weights[key] = filled
    load_exactly(model, weights, path, released=released)
    return LoadReport(kind, len(weights) - len(rows), classes=to_ours.origins())


def initialise_from_timm(
    model: ParsingModel, backbone: str, state: State | None = None, path: Path | None = None
) -> LoadReport:
    """Start the backbone from timm's own weights for it, or from `state`, read from `path`.

    Args:
        state: weights of a whole timm network.

    Raises:
        CheckpointError: the weights are of another network, or cannot be loaded.
    """
    try:
        # timm ignores keys that it does not know. Tensors that differ between two networks were not loaded.
        source, again = (timm_backbone(backbone, weights=state, pretrained=True).network.state_dict() for _ in range(2))
    except FaceparseError:
        raise
    except Exception as error:  # the hub's client and timm may raise any error
        where = path or f"timm's weights of {backbone}"
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{where}: cannot be loaded ({reason}); give a weights file of that network, or model.pretrained = none"
        ) from None
    if random := [key for key in source if not torch.equal(source[key], again[key])]:
        if path is None:
            raise CheckpointError(f"timm has no weights of {backbone}; give a weights file, or model.pretrained = none")
        raise _of_another_network(path, random)
    model.backbone.load_state_dict(source)
    return LoadReport(backbone, len(source))


def _initialise_mobilenet(model: ParsingModel, state: State, path: Path) -> LoadReport:
    target = model.backbone.state_dict()
    missing = [key for key in target if key not in state or not _fits(state[key], target[key])]
    if missing:
        raise _of_another_network(path, missing)
    model.backbone.load_state_dict({key: state[key] for key in target})
    unused = tuple(key for key in state if key not in target and not key.endswith("num_batches_tracked"))
    return LoadReport("MobileNetV2", len(target), unused=unused)


def _initialise_resnet(model: ParsingModel, state: State, path: Path) -> LoadReport:
    target = model.backbone.state_dict()
    theirs = {
        ours.removeprefix("backbone."): key
        for key in state
        if (ours := from_released(key)) is not None and ours.startswith("backbone.")
    }
    found = {ours: state[key] for ours, key in theirs.items()}
    fitting = {key: tensor for key, tensor in found.items() if key in target and _fits(tensor, target[key])}
    if not _stem(target) <= fitting.keys():  # a stem is one whole: a norm without its convolution is useless
        fitting = {key: tensor for key, tensor in fitting.items() if not key.startswith("stem.")}
    if not fitting:
        raise CheckpointError(f"{path}: none of its {len(state)} keys belongs to a ResNet backbone or an EAGRNet")
    left = [key for key in {**target, **found} if key not in fitting and not key.endswith("num_batches_tracked")]
    # With another stem, only the stem and the first block's 1x1 convolutions do not fit. More is another ResNet.
    foreign = [key for key in left if not key.startswith(("stem.", "stages.0.0."))]
    if foreign:
        raise CheckpointError(
            f"{path}: of another ResNet than model.backbone, {len(foreign)} tensors such as {foreign[0]!r} do not fit; "
            "change model.backbone or the file"
        )
    model.backbone.load_state_dict({**target, **fitting})
    stem = "7x7" if state.get("conv1.weight", torch.empty(0, 0, 0, 0)).shape[-1] == 7 else "deep 3x3"
    used = {theirs[key] for key in fitting}
    return LoadReport(
        kind=f"ResNet backbone with a {stem} stem",
        loaded=len(fitting),
        skipped=tuple(key for key in left if key in target),
        unused=tuple(key for key in state if key not in used and not key.endswith("num_batches_tracked")),
    )


def _fits(tensor: Tensor, target: Tensor) -> bool:
    return tensor.shape == target.shape and tensor.is_floating_point() == target.is_floating_point()


def _stem(state: State) -> set[str]:
    return {key for key in state if key.startswith("stem.") and not key.endswith("num_batches_tracked")}


def _of_another_network(path: Path, missing: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{path}: of another network than model.backbone, {len(missing)} tensors such as {missing[0]!r} are not in "
        "it; change model.backbone or the file"
    )
