"""An exported file as a trained model. The file carries all it needs and is used like a checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from faceparse import __version__
from faceparse.core.errors import CheckpointError, FaceparseError, first_line
from faceparse.core.export.formats import Format
from faceparse.core.export.graph import GraphNetwork
from faceparse.core.export.onnx import Metadata
from faceparse.core.images.warp import Size
from faceparse.core.parser.trained import TrainedModel, model_fields
from faceparse.core.runtime.kinds import Kind, Sizes
from faceparse.core.runtime.metadata import read_metadata_of
from faceparse.core.runtime.onnx_model import check_size
from faceparse.core.settings import chosen, to_dict

NORMALISED = "channels in channel_order, / 255, - mean, / std"


@dataclass(frozen=True, kw_only=True)
class ExportedModel(TrainedModel):
    """A network in a format other than PyTorch's weights.

    It logs nowhere: its scores are not the scores of the run.
    """

    format: Format
    kind: Kind
    named: bool
    """As `names_are_known`."""
    sizes: Sizes = "fixed"
    largest_batch: int | None = None
    """Most crops at a time that the graph takes; None where it takes any number."""

    @property
    def names_are_known(self) -> bool:
        """Whether the label set was written with the model, not guessed from the number of classes."""
        return self.named

    def device(self, name: str) -> torch.device:
        """The device of that name; `auto` means the CPU where the format's runtime has no GPU."""
        return super().device("cpu" if name == "auto" and not self.format.runs_on_gpu() else name)

    def network(self, device: torch.device, input_size: Size | None = None) -> GraphNetwork:
        """Load the graph on `device`, and run it once.

        Raises:
            CheckpointError: the graph cannot be run, or does not take that input size.
        """
        data = self.settings.data
        if input_size is not None:
            check_size(self.source, self.sizes, data.input_size, input_size)
            data = data.model_copy(update={"input_size": input_size})
        try:
            run = self.format.run(self.path, device)
        except FaceparseError:
            raise
        except Exception as error:  # the runtimes raise errors of many kinds
            raise CheckpointError(f"{self.source}: cannot be run ({first_line(error)}); export it again") from error
        classes, any_size = len(self.label_set), self.sizes == "any"
        network = GraphNetwork(
            self.kind,
            run,
            data,
            classes,
            self.format.graph_input,
            any_size=any_size,
            largest_batch=self.largest_batch,
            source=self.source,
        ).to(device)
        network(torch.zeros(1, *data.input_size, 3, dtype=torch.uint8, device=device))  # metadata may be wrong
        return network


def to_metadata(trained: TrainedModel, kind: Kind, sizes: Sizes, largest_batch: int | None = None) -> Metadata:
    """Metadata of an exported file: from photograph to input, and from output to classes. JSON where it is not text."""
    data = trained.settings.data
    return {
        "faceparse": __version__,
        "kind": kind,
        "class_names": json.dumps(trained.label_set.names),
        "label_set": json.dumps(trained.label_set.to_toml()),
        "channel_order": data.channel_order,
        "mean": json.dumps(data.mean),
        "std": json.dumps(data.std),
        "input_size": json.dumps(data.input_size),
        "sizes": sizes,
        "fit": trained.fit,
        "preprocessing": f"{trained.fit} (see input_size)" + (f", {NORMALISED}" if kind == "logits" else ""),
        "names_are_known": json.dumps(trained.names_are_known),
        "settings": json.dumps(chosen(trained.settings) if trained.foreign else to_dict(trained.settings)),
        "epoch": json.dumps(trained.epoch),
        "scores": json.dumps(dict(trained.scores)),
        "geometry": json.dumps(trained.geometry.to_dict() if trained.geometry is not None else None),
        **({"licence": trained.licence} if trained.licence else {}),
        **({"foreign": trained.foreign.model_dump_json(exclude_none=True)} if trained.foreign else {}),
        **({"largest_batch": json.dumps(largest_batch)} if largest_batch else {}),
    }


def read_exported(path: Path, known: Format) -> ExportedModel:
    """Read an exported file.

    Raises:
        CheckpointError: not a file that `faceparse export` wrote, or a damaged one.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        metadata = dict(known.read_metadata(path))
    except FaceparseError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: truncated or damaged ({first_line(error)}); copy it again") from None
    said = read_metadata_of(path, metadata)
    return ExportedModel(
        path=path,
        **model_fields(said),
        format=known,
        kind=said.kind,
        named=said.names_are_known,
        sizes=said.sizes,
        largest_batch=said.largest_batch,
    )
