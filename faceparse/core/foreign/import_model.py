"""Makes a bundle of a foreign ONNX file, and verifies it against that file before it is put in its place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch

from faceparse.core.errors import CheckpointError, ExportError, OutputError
from faceparse.core.export.bundle import fill_bundle
from faceparse.core.export.exported import ExportedModel, read_exported, to_metadata
from faceparse.core.export.formats import FORMATS
from faceparse.core.export.verify import CHECKED_BATCHES, Check, compare_numbers, drawn_crops, score
from faceparse.core.files.writing import write_folder_with
from faceparse.core.foreign.bare import BareFile
from faceparse.core.foreign.compose import compose
from faceparse.core.foreign.foreign_description import Description
from faceparse.core.foreign.foreign_file import ForeignFile
from faceparse.core.foreign.outputs import choose_output, fitting_outputs
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.runtime.checksums import MODEL, is_bundle, refuse_other_than_bundle
from faceparse.core.runtime.metadata import Foreign
from faceparse.core.scoring.built_in_groups import photograph_groupings
from faceparse.core.scoring.split import Split
from faceparse.core.scoring.summary import Summary

_FORMAT = "onnx"


@dataclass(frozen=True)
class ImportReport:
    """A written bundle and the checks that it passed."""

    path: Path
    model: ExportedModel
    size: int
    """Bytes of the model's file."""
    checks: tuple[Check, ...]
    note: str
    """Part of the description that users should look at; empty where there is none."""
    summary: Summary | None
    """Scores on the photographs that were given; None without any."""


class Importer:
    """Makes bundles of one foreign file.

    report = Importer(read_foreign(path), read_description(toml)).write(Path("bisenet.bundle"))
    """

    def __init__(self, file: ForeignFile, description: Description) -> None:
        """Open the file, run it once, and find the output that is described.

        Raises:
            CheckpointError: the file cannot be run, or is not as described.
        """
        self.file, self.description = file, description
        self.bare = BareFile.open(file, description)
        self._answers: Mapping[str, np.ndarray] = self.bare.answers(drawn_crops(1, description.input.size).numpy())
        self.output, self.note = choose_output(file.path, description, self._answers)

    @property
    def other_outputs(self) -> list[str]:
        """Further outputs that hold what is described, such as auxiliary heads."""
        return [name for name in fitting_outputs(self.description, self._answers) if name != self.output]

    def described_model(self, output: str | None = None) -> ExportedModel:
        """The foreign file with what is described; `output` replaces the described one. It cannot be run."""
        description, file = self.description, self.file
        foreign = Foreign(
            name=description.name,
            source=description.source,
            file=file.path.name,
            sha256=file.sha256,
            output=output or self.output,
        )
        return ExportedModel(
            path=file.path,
            settings=description.settings,
            label_set=description.label_set,
            fit=description.input.fit,
            foreign=foreign,
            own_licence=description.licence,
            format=FORMATS[_FORMAT],
            kind="logits",
            named=True,
        )

    @staticmethod
    def check_place(path: Path) -> bool:
        """Check that a bundle can be written there, before long work; return whether one is there, to be replaced.

        Raises:
            OutputError: a file is there, or a folder that is no bundle.
        """
        if path.exists() and not path.is_dir():
            raise OutputError(f"cannot write {path}: it is a file, and a bundle is a folder; choose another place")
        refuse_other_than_bundle(path)
        return is_bundle(path)

    def write(self, path: Path, *, scored_on: Split | None = None, track: Track = untracked) -> ImportReport:
        """Write the bundle's folder.

        Args:
            scored_on: photographs to score the bundle on, for its card.

        Raises:
            ExportError: the bundle's graph does not answer as the foreign file; nothing is written.
            OutputError: `path` cannot be written, or is a folder that is no bundle.
        """
        self.check_place(path)
        report: ImportReport | None = None

        def fill(folder: Path) -> None:
            nonlocal report
            model, checks = self._verified(folder / f"{MODEL}{FORMATS[_FORMAT].suffix}")
            summary = None
            if scored_on is not None:
                groupings = photograph_groupings(scored_on.samples, scored_on.label_set, track=track)
                network = model.network(torch.device("cpu"))
                summary = score(network, scored_on, groupings, track, model.fit)
            fill_bundle(folder, model, _FORMAT, summary, scored_on)
            size = model.path.stat().st_size
            report = ImportReport(path, replace(model, path=path / model.path.name), size, checks, self.note, summary)

        write_folder_with(path, fill)
        assert report is not None
        return report

    def write_model(self, path: Path, output: str, largest_batch: int | None = None) -> ExportedModel:
        """Write the model's file alone, with any of the outputs, and read it again.

        Raises:
            CheckpointError: the joined graph cannot be read.
        """
        model = compose(self.file, self.description, self.bare.input_name, output)
        metadata = to_metadata(self.described_model(output), "logits", "fixed", largest_batch)
        onnx.helper.set_model_props(model, dict(metadata))
        path.write_bytes(model.SerializeToString())
        return read_exported(path, FORMATS[_FORMAT])

    def _verified(self, path: Path) -> tuple[ExportedModel, tuple[Check, ...]]:
        """Write the model's file and compare it with the foreign file.

        A graph that takes one picture only, whatever it declares, gets its pictures one by one.
        """
        if not self.bare.single:
            try:
                return self._compared(self.write_model(path, self.output))
            except (CheckpointError, ExportError):
                pass  # the comparison of single pictures says what is wrong, if that is not the batch
        return self._compared(self.write_model(path, self.output, largest_batch=1))

    def _compared(self, model: ExportedModel) -> tuple[ExportedModel, tuple[Check, ...]]:
        network = model.network(torch.device("cpu"))
        reference = self.bare.reference(self.output)
        checks = tuple(
            compare_numbers(
                reference,
                network,
                drawn_crops(batch, network.input_size),
                FORMATS[_FORMAT],
                labels=False,
                reference=str(self.file.path),
            )
            for batch in CHECKED_BATCHES
        )
        return model, checks
