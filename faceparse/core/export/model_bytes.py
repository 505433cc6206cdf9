"""A trained model as bytes, for processes on machines that do not see its files."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from faceparse.core.export.formats import format_of
from faceparse.core.export.read import read_model
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import write_atomic
from faceparse.core.labels.mapping import ClassMapping
from faceparse.core.parser.mapped import MappedModel, map_model
from faceparse.core.parser.trained import TrainedModel


@dataclass(frozen=True)
class ModelBytes:
    """Content of a model's files, and how this process has read them."""

    files: dict[str, bytes]
    """Path below the folder of the model's file -> content."""
    name: str
    """The file that the model is read from."""
    address: str | None
    trust: bool
    """Whether the user trusts the files, where they could run code."""
    mapping: ClassMapping | None

    @contextmanager
    def opened(self) -> Iterator[TrainedModel]:
        """The same model, read from copies of its files. They are there until the block ends.

        Raises:
            CheckpointError: a file is not trusted.
            OutputError: the folder for temporary files cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="faceparse-", ignore_cleanup_errors=True) as folder:
            for name, content in self.files.items():
                write_atomic(Path(folder, name), content)
            model = replace(read_model(Path(folder, self.name), trust=self.trust), address=self.address)
            yield model if self.mapping is None else map_model(model, self.mapping)


def model_bytes(model: TrainedModel, *, trust: bool = False) -> ModelBytes:
    """Read a model's files.

    Args:
        trust: whether other processes may load it, too, if it could run code.

    Raises:
        DatasetError: a file cannot be read.
    """
    mapping = model.mapping if isinstance(model, MappedModel) else None
    known = format_of(model.path)
    beside = [model.path.with_suffix(known.beside)] if known is not None and known.beside else []
    home = model.path.parent
    paths = dict.fromkeys([model.path, *model.files, *beside])
    files = {PurePath(path.relative_to(home)).as_posix(): read_bytes(path) for path in paths}
    return ModelBytes(files, model.path.name, model.address, trust, mapping)
