"""Weights files: our checkpoints and safetensors files, released EAGRNet checkpoints and ResNet backbones.

PyTorch's files are read with `weights_only=True`: nothing in any file is ever executed.
"""

import pickle
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Strict, ValidationError
from torch import Tensor, nn

from faceparse.core.errors import CheckpointError, FaceparseError
from faceparse.core.files.content import must_be_a_model, read_safetensors_metadata
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import IGNORE, LabelSet, builtin_label_sets
from faceparse.core.model.backbones import TimmFeatures, timm_backbone
from faceparse.core.model.build import build_model
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.model.resnet import ResNet
from faceparse.core.parser.portable import SAFETENSORS, read_weights
from faceparse.core.parser.trained import ParsingNetwork, TrainedModel, model_fields
from faceparse.core.runtime.metadata import Epoch, Geometry, Scores, read_metadata_of
from faceparse.core.settings import settings_from_dict
from faceparse.core.text.toml_json import explain

FORMAT = "faceparse-checkpoint"
VERSION = 1

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint(TrainedModel):
    """A model as PyTorch weights."""

    weights: State
    """Keys as in the network's `state_dict()`."""
    origin: Literal["faceparse", "released"] = "faceparse"
    training: Mapping[str, Any] | None = None
    """What a resumed run needs beside the weights: only in last.pth and its older one."""

    @property
    def names_are_known(self) -> bool:
        return self.origin == "faceparse"

    def network(self, device: torch.device, input_size: Size | None = None) -> ParsingNetwork:
        data = self.settings.data
        if input_size is not None:
            data = data.model_copy(update={"input_size": input_size})
        return ParsingNetwork(load_model(self, device), data).to(device).eval()


def read_checkpoint(path: Path) -> Checkpoint:
    """One of our checkpoints or safetensors files, or a released one (a bare state dict, keys perhaps prefixed
    `module.`).

    Raises:
        CheckpointError: missing, truncated, not a checkpoint, wants to run code, or a key missing, extra, mis-shaped.
    """
    if path.suffix == SAFETENSORS:
        return read_portable(path)
    content = _read(path)
    if _is_ours(content):
        return _ours(path, content)
    state = _tensors(path, content)
    if "layer6.conv4.weight" not in state:
        raise CheckpointError(
            f"{path}: not a face-parsing checkpoint (no key 'layer6.conv4.weight'); give best.pth or last.pth"
        )
    return _released(path, state)


def load_model(checkpoint: Checkpoint, device: torch.device) -> ParsingModel:
    """The checkpoint's network in eval mode on `device`.

    With plain norms, whichever it was trained with: they have the same state, compute the same, exist everywhere and
    can be exported. What in-place norms save is memory in training.
    """
    settings = checkpoint.settings.model.model_copy(update={"norm": "torch"})
    model = build_model(settings, len(checkpoint.label_set), device)
    load_exactly(model, checkpoint.weights, checkpoint.path, released=checkpoint.origin == "released")
    return model.eval()


def load_exactly(model: nn.Module, weights: State, path: Path, *, released: bool = False) -> None:
    """Copy `weights` into `model`, which must have just these keys and shapes."""
    expected = model.state_dict()
    name = (lambda key: _to_released(key)) if released else (lambda key: key)
    if missing := [key for key in expected if key not in weights]:
        raise CheckpointError(
            f"{path}: key {name(missing[0])!r} is missing{_and_more(missing)}; the file is of another network"
        )
    if extra := [key for key in weights if key not in expected]:
        raise CheckpointError(
            f"{path}: unknown key {name(extra[0])!r}{_and_more(extra)}; the file is of another network"
        )
    if wrong := [key for key in expected if expected[key].shape != weights[key].shape]:
        found, wanted = tuple(weights[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise CheckpointError(
            f"{path}: key {name(wrong[0])!r} has shape {found}, the network {wanted}{_and_more(wrong)}; "
            "check the class count and model.backbone"
        )
    model.load_state_dict(dict(weights))


@dataclass(frozen=True)
class LoadReport:
    """What a weights file gave to a new network."""

    kind: str
    loaded: int
    skipped: tuple[str, ...] = ()
    """Keys of the network's backbone that the file did not fill."""
    unused: tuple[str, ...] = ()
    """Keys of the file that the network has no place for."""

    def __str__(self) -> str:
        parts = [f"{self.kind}: {self.loaded} tensors loaded"]
        for keys, what in ((self.skipped, "left at random"), (self.unused, "of the file not used")):
            if keys:
                parts.append(f"{len(keys)} {what} ({', '.join(keys[:4])}{', ...' if len(keys) > 4 else ''})")
        return ", ".join(parts)


def initialise(model: ParsingModel, path: Path, backbone: str) -> LoadReport:
    """Start `model` from a checkpoint (ours or released, which must fit exactly) or from the weights of its backbone.

    A ResNet may have another stem than the network: what does not fit stays as it is and is reported.

    Args:
        backbone: as in `model.backbone`.
    """
    if path.suffix == SAFETENSORS:
        return _initialise_exactly(model, read_portable(path))
    content = _read(path)
    if _is_ours(content):
        return _initialise_exactly(model, _ours(path, content))
    state = _tensors(path, content)
    if "layer6.conv4.weight" in state:
        weights = _renamed(path, state)
        _must_have_its_classes(model, weights, path)
        load_exactly(model, weights, path, released=True)
        return LoadReport("released EAGRNet", len(weights))
    if isinstance(model.backbone, ResNet):
        return _initialise_resnet(model, state, path)
    if isinstance(model.backbone, TimmFeatures):
        return initialise_from_timm(model, backbone, state, path)
    return _initialise_mobilenet(model, state, path)


def _initialise_exactly(model: ParsingModel, checkpoint: Checkpoint) -> LoadReport:
    _must_have_its_classes(model, checkpoint.weights, checkpoint.path)
    load_exactly(model, checkpoint.weights, checkpoint.path)
    return LoadReport("checkpoint", len(checkpoint.weights))


def _must_have_its_classes(model: ParsingModel, weights: State, path: Path) -> None:
    """
    Raises:
        CheckpointError: the weights are those of such a network, but for other classes.
    """
    own = {key: tensor.shape for key, tensor in model.state_dict().items()}
    theirs = {key: tensor.shape for key, tensor in weights.items()}
    differing = [key for key in own if own[key] != theirs.get(key)]
    if own.keys() != theirs.keys() or not differing or not all(own[key][1:] == theirs[key][1:] for key in differing):
        return
    counts = {(theirs[key][0], own[key][0]) for key in differing if own[key] and theirs[key]}
    if len(counts) == 1:
        ((found, wanted),) = counts
        raise CheckpointError(
            f"{path}: has {found} classes, the dataset {wanted}; training starts from weights of the same classes, or "
            "from the backbone's alone: --restore-from imagenet"
        )


def initialise_from_timm(
    model: ParsingModel, backbone: str, state: State | None = None, path: Path | None = None
) -> LoadReport:
    """Start the backbone from timm's own weights for it, or from `state`, a whole network's of timm, read from `path`.

    Raises:
        CheckpointError: they are of another network, or cannot be had.
    """
    try:
        # timm passes over keys that it does not know: what two networks differ in came from nowhere.
        source, again = (timm_backbone(backbone, weights=state, pretrained=True).network.state_dict() for _ in range(2))
    except FaceparseError:
        raise
    except Exception as error:  # the hub's client and timm raise anything
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
    missing = [key for key in target if key not in state or state[key].shape != target[key].shape]
    if missing:
        raise _of_another_network(path, missing)
    model.backbone.load_state_dict({key: state[key] for key in target})
    unused = tuple(key for key in state if key not in target and not key.endswith("num_batches_tracked"))
    return LoadReport("MobileNetV2", len(target), unused=unused)


def _of_another_network(path: Path, missing: list[str]) -> CheckpointError:
    return CheckpointError(
        f"{path}: of another network than model.backbone, {len(missing)} tensors such as {missing[0]!r} are not in "
        "it; change model.backbone or the file"
    )


def _initialise_resnet(model: ParsingModel, state: State, path: Path) -> LoadReport:
    target = model.backbone.state_dict()
    theirs = {
        ours.removeprefix("backbone."): key
        for key in state
        if (ours := _from_released(key)) is not None and ours.startswith("backbone.")
    }
    found = {ours: state[key] for ours, key in theirs.items()}
    fitting = {key: tensor for key, tensor in found.items() if key in target and target[key].shape == tensor.shape}
    if not _stem(target) <= fitting.keys():  # a stem is one whole: a norm without its convolution is of no use
        fitting = {key: tensor for key, tensor in fitting.items() if not key.startswith("stem.")}
    if not fitting:
        raise CheckpointError(f"{path}: none of its {len(state)} keys belongs to a ResNet backbone or an EAGRNet")
    left = [key for key in {**target, **found} if key not in fitting and not key.endswith("num_batches_tracked")]
    # Another stem leaves itself and the first block's 1x1 convolutions out; anything more is another ResNet.
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


def _stem(state: State) -> set[str]:
    return {key for key in state if key.startswith("stem.") and not key.endswith("num_batches_tracked")}


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give a checkpoint in it, such as {path / 'best.pth'}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on a foreign pickle's protocol: the error says enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # A function or class that is not allowed is called a GLOBAL; anything else is not the format.
        if "GLOBAL" in str(error):
            raise CheckpointError(
                f"{path}: refused, the file holds code or objects beside tensors; save a plain state_dict instead"
            ) from None
        raise CheckpointError(
            f"{path}: not a PyTorch weights file, or a damaged one; copy or download it again"
        ) from None
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged file makes the readers raise anything: IndexError, struct.error, ...
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}" if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: truncated or damaged ({reason}); copy or download it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state_dict")
    return content


def _is_ours(content: Mapping[str, Any]) -> bool:
    said = content.get("format")  # a tensor would be compared by element
    return isinstance(said, str) and said == FORMAT


def _ours(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    version = content.get("version")
    if not isinstance(version, int) or version != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint version {reprlib.repr(version)}, this faceparse reads version {VERSION}"
        )
    try:
        said = _Content.model_validate({key: content[key] for key in _Content.model_fields if key in content})
        settings = settings_from_dict(content.get("settings", {}))
    except ValidationError as error:
        raise CheckpointError(f"{path}: damaged checkpoint, {explain(error)}; copy it again") from None
    except FaceparseError as error:
        raise CheckpointError(
            f"{path}: written by another faceparse, whose settings this one does not know ({error})"
        ) from None
    _must_be_plain(path, said.model)
    return Checkpoint(
        path=path,
        settings=settings,
        label_set=said.label_set,
        weights=said.model,
        run_id=said.run_id,
        tracking_uri=said.tracking_uri,
        epoch=said.epoch,
        scores=said.scores,
        geometry=said.geometry,
        training=said.training,
    )


class _Content(BaseModel):
    """A checkpoint's keys, but for the settings, whose errors have a way of their own to be told."""

    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    settings: dict[str, Any]
    label_set: Annotated[LabelSet, Strict(False)]
    model: dict[str, Tensor]
    epoch: Epoch
    scores: Scores
    run_id: str | None
    tracking_uri: str | None
    geometry: Geometry = None
    training: dict[str, Any] | None = None
    """Checked by who resumes: it depends on what is trained."""


def _must_be_plain(path: Path, state: State) -> None:
    """
    Raises:
        CheckpointError: a tensor is sparse, quantised, complex, a view of more than its file holds, or not finite.
    """
    for key, tensor in state.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
        plain = plain and not (tensor.is_quantized or tensor.is_complex())
        if not plain or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: key {key!r} is no plain tensor; save the state_dict again")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: key {key!r} holds what is no number; take another checkpoint")


def read_portable(path: Path) -> Checkpoint:
    """A safetensors file of `faceparse export`, whatever its name.

    Raises:
        CheckpointError: missing, another kind of file, or written by somebody else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    must_be_a_model(path, str(path))
    weights = read_weights(path)
    said = read_metadata_of(path, read_safetensors_metadata(path))
    origin: Literal["faceparse", "released"] = "faceparse" if said.names_are_known else "released"
    return Checkpoint(path=path, weights=weights, origin=origin, **model_fields(said))


def _released(path: Path, state: State) -> Checkpoint:
    shape = state["layer6.conv4.weight"].shape
    classes = shape[0] if shape else 0
    if not 2 <= classes <= IGNORE:
        raise CheckpointError(
            f"{path}: key 'layer6.conv4.weight' has {classes} classes, not 2 to {IGNORE}; another network's file"
        )
    # The released code reads images as BGR and normalises them with the RGB mean and std, unswapped.
    settings = settings_from_dict({"data": {"channel_order": "bgr", "num_classes": classes}})
    weights = _renamed(path, state)
    return Checkpoint(
        path=path, settings=settings, label_set=label_set_of_size(classes), weights=weights, origin="released"
    )


def label_set_of_size(classes: int) -> LabelSet:
    """The paper's label set with this many classes, else one with numbered names."""
    known = {len(builtin_label_sets()[name]): builtin_label_sets()[name] for name in ("helen", "celebamask-hq")}
    if classes in known:
        return known[classes]
    colours = {f"class_{i}": f"#{(i * 0x9E3779B1) & 0xFFFFFF:06x}" for i in range(1, classes)}
    return LabelSet(name=f"{classes}-classes", side="none", classes={"background": "#000000", **colours})


def _tensors(path: Path, content: Mapping[str, Any]) -> State:
    """The file's tensors by their key, less the `module.` that DataParallel puts before each."""
    state = content.get("state_dict", content)
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: not a state_dict of tensors; save model.state_dict() itself")
    _must_be_plain(path, state)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _renamed(path: Path, state: State) -> State:
    renamed = {}
    for key, tensor in state.items():
        ours = _from_released(key)
        if ours is None:
            raise CheckpointError(f"{path}: unknown key {key!r}; the file is of another network")
        renamed[ours] = tensor
    return renamed


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""


def _names() -> Iterator[tuple[str, str]]:
    """(released module, our module): the one table between the released key names and ours."""
    for i in range(3):
        yield f"conv{i + 1}", f"backbone.stem.{i}.conv"
        yield f"bn{i + 1}", f"backbone.stem.{i}.norm"
        yield f"edge_layer.conv{i + 1}.0", f"edge_head.project.{i}.conv"
        yield f"edge_layer.conv{i + 1}.1", f"edge_head.project.{i}.norm"
    yield "edge_layer.conv4", "edge_head.predict"
    yield "edge_layer.conv5", "edge_head.fuse"
    for stage in range(4):
        for block in range(36):  # ResNet-152 has the longest stage
            theirs, ours = f"layer{stage + 1}.{block}", f"backbone.stages.{stage}.{block}"
            for i in range(3):
                yield f"{theirs}.conv{i + 1}", f"{ours}.body.{i}.conv"
                yield f"{theirs}.bn{i + 1}", f"{ours}.body.{i}.norm"
            yield f"{theirs}.downsample.0", f"{ours}.shortcut.conv"
            yield f"{theirs}.downsample.1", f"{ours}.shortcut.norm"
    for i in range(4):
        yield f"layer5.stages.{i}.1", f"pyramid.branches.{i}.conv"
        yield f"layer5.stages.{i}.2", f"pyramid.branches.{i}.norm"
    yield "layer5.bottleneck.0", "pyramid.fuse.conv"
    yield "layer5.bottleneck.1", "pyramid.fuse.norm"
    for theirs, ours in (("block1", "deep_graph"), ("block2", "shallow_graph")):
        yield f"{theirs}.conv_state", f"{ours}.state"
        yield f"{theirs}.conv_proj", f"{ours}.projection"
        yield f"{theirs}.gcn.conv1", f"{ours}.reasoning.across_vertices"
        yield f"{theirs}.gcn.conv2", f"{ours}.reasoning.across_states"
        yield f"{theirs}.conv_extend", f"{ours}.expand"
        yield f"{theirs}.blocker", f"{ours}.norm"
    for theirs, ours in (("conv1", "deep"), ("conv2", "shallow"), ("conv3", "fuse.0")):
        yield f"layer6.{theirs}.0", f"decoder.{ours}.conv"
        yield f"layer6.{theirs}.1", f"decoder.{ours}.norm"
    yield "layer6.conv3.2", "decoder.fuse.1.conv"
    yield "layer6.conv3.3", "decoder.fuse.1.norm"
    yield "layer6.conv4", "decoder.classify"


@cache
def _tables() -> tuple[dict[str, str], dict[str, str]]:
    names = dict(_names())
    return names, {ours: theirs for theirs, ours in names.items()}


def _from_released(key: str) -> str | None:
    module, _, leaf = key.rpartition(".")
    ours = _tables()[0].get(module)
    return None if ours is None else f"{ours}.{leaf}"


def _to_released(key: str) -> str:
    module, _, leaf = key.rpartition(".")
    return f"{_tables()[1].get(module, module)}.{leaf}"


def released_state(model: ParsingModel) -> dict[str, Tensor]:
    """The network's state under the released key names."""
    return {_to_released(key): tensor for key, tensor in model.state_dict().items()}
