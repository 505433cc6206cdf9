"""Read checkpoints from files: our own, safetensors files and released ones. Nothing in any file is executed."""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.files.content import must_be_a_model, read_safetensors_metadata
from faceparse.core.images.warp import Size
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, builtin_label_sets
from faceparse.core.model.build import build_model
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.names.model_file import ENSEMBLE_FILE, SUFFIXES
from faceparse.core.parser.checkpoint_format import is_packed, unpack
from faceparse.core.parser.exact_weights import State, load_exactly
from faceparse.core.parser.portable import SAFETENSORS, read_weights
from faceparse.core.parser.released_names import CLASSIFIER, is_released, under_our_names
from faceparse.core.parser.trained import ParsingNetwork, TrainedModel, model_fields
from faceparse.core.runtime.metadata import read_metadata_of
from faceparse.core.settings import settings_from_dict


@dataclass(frozen=True, kw_only=True)
class Checkpoint(TrainedModel):
    """A model as PyTorch weights."""

    weights: State
    """Keys as in the network's `state_dict()`."""
    origin: Literal["faceparse", "released"] = "faceparse"
    training: Mapping[str, Any] | None = None
    """Everything else that a resumed run needs: only in last.pth and the older copy of it."""

    @property
    def names_are_known(self) -> bool:
        """Whether the label set was written with the weights: true of our own files only."""
        return self.origin == "faceparse"

    def network(self, device: torch.device, input_size: Size | None = None) -> ParsingNetwork:
        """The network in eval mode on `device`, with its preprocessing; `input_size` replaces its own."""
        data = self.settings.data
        if input_size is not None:
            data = data.model_copy(update={"input_size": input_size})
        return ParsingNetwork(load_model(self, device), data).to(device).eval()


def load_model(checkpoint: Checkpoint, device: torch.device) -> ParsingModel:
    """The checkpoint's network in eval mode on `device`.

    It gets plain norms, whichever norms it was trained with. Both kinds have the same state and compute the same, but
    plain norms exist everywhere and can be exported. In-place norms only save memory in training.
    """
    settings = checkpoint.settings.model.model_copy(update={"norm": "torch"})
    model = build_model(settings, len(checkpoint.label_set), device)
    load_exactly(model, checkpoint.weights, checkpoint.path, released=checkpoint.origin == "released")
    return model.eval()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one of our checkpoints or safetensors files, or a released one.

        read_checkpoint(Path("best.pth")).scores

    A released one is a bare state dict; its keys may begin with `module.`.

    Raises:
        CheckpointError: missing, truncated, not a checkpoint, wants to run code, or a key is unknown.
    """
    found = read_weights_file(path)
    if isinstance(found, Checkpoint):
        return found
    if not is_released(found):
        raise CheckpointError(
            f"{path}: not a face-parsing checkpoint (no key {CLASSIFIER!r}); give best.pth or last.pth"
        )
    return _released(path, found)


def read_weights_file(path: Path) -> Checkpoint | State:
    """Read one of our checkpoints or safetensors files; of any other weights file, return the tensors by key.

    Raises:
        CheckpointError: missing, truncated, no weights, or wants to run code.
    """
    if path.suffix == SAFETENSORS:
        return read_portable(path)
    if path.name == ENSEMBLE_FILE:
        raise CheckpointError(f"{path.parent}: an ensemble of several networks; give the checkpoint of one of them")
    if path.suffix in SUFFIXES and path.suffix != ".pth":
        raise CheckpointError(
            f"{path}: an exported graph, without weights of PyTorch to start from; give a checkpoint (best.pth), or a "
            "model that was exported as safetensors"
        )
    content = _read(path)
    return _unpacked(path, content) if is_packed(content) else _tensors(path, content)


def read_portable(path: Path) -> Checkpoint:
    """Read a safetensors file of `faceparse export`, whatever its name.

    Raises:
        CheckpointError: missing, another kind of file, or not written by faceparse.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    must_be_a_model(path, str(path))
    weights = read_weights(path)
    said = read_metadata_of(path, read_safetensors_metadata(path))
    origin: Literal["faceparse", "released"] = "faceparse" if said.names_are_known else "released"
    return Checkpoint(path=path, weights=weights, origin=origin, **model_fields(said))


def label_set_of_size(classes: int) -> LabelSet:
    """Label set of the paper with this many classes; if there is none, a set with numbered names."""
    known = {len(builtin_label_sets()[name]): builtin_label_sets()[name] for name in ("helen", "celebamask-hq")}
    if classes in known:
        return known[classes]
    colours = {f"class_{i}": f"#{(i * 0x9E3779B1) & 0xFFFFFF:06x}" for i in range(1, classes)}
    return LabelSet(name=f"{classes}-classes", side="none", classes={"background": "#000000", **colours})


def _read(path: Path) -> dict[str, Any]:
    """Content of a PyTorch file, read with `weights_only=True`."""
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give a checkpoint in it, such as {path / 'best.pth'}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a foreign pickle's protocol: the error says enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch calls a function or class that is not allowed a GLOBAL. Any other error means another format.
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


def _unpacked(path: Path, content: Mapping[str, Any]) -> Checkpoint:
    said, settings = unpack(path, content)
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


def _released(path: Path, state: State) -> Checkpoint:
    shape = state[CLASSIFIER].shape
    classes = shape[0] if shape else 0
    if not 2 <= classes <= IGNORE:
        raise CheckpointError(
            f"{path}: key {CLASSIFIER!r} has {classes} classes, not 2 to {IGNORE}; another network's file"
        )
    # The released code reads images as BGR and normalises them with the RGB mean and std, unswapped.
    settings = settings_from_dict({"data": {"channel_order": "bgr", "num_classes": classes}})
    weights = under_our_names(path, state)
    return Checkpoint(
        path=path, settings=settings, label_set=label_set_of_size(classes), weights=weights, origin="released"
    )


def _tensors(path: Path, content: Mapping[str, Any]) -> State:
    """Tensors of the file by key, without the `module.` that DataParallel puts before each."""
    state = content.get("state_dict", content)
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: not a state_dict of tensors; save model.state_dict() itself")
    _must_be_plain(path, state)
    return {key.removeprefix("module."): value for key, value in state.items()}


def _must_be_plain(path: Path, state: State) -> None:
    """Check that all tensors are plain and finite.

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
