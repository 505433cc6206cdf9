"""Export of a checkpoint to files for other programs. Each file is verified before it replaces an older one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.errors import (
    CheckpointError,
    ExportError,
    FaceparseError,
    SettingsError,
    first_line,
)
from faceparse.core.export.browser.page_folder import PAGE_MODEL, fill_page, refuse_other_than_page
from faceparse.core.export.browser.web_runtime import WebRuntime
from faceparse.core.export.bundle import fill_bundle
from faceparse.core.export.exported import ExportedModel, read_exported, to_metadata
from faceparse.core.export.formats import FORMATS, PAGES, Judgement, Write, onnx_writers, writers
from faceparse.core.export.graph import (
    ArrayInput,
    Graph,
    GraphInput,
    GraphNetwork,
    TensorFunction,
    another_size,
    build_graph,
)
from faceparse.core.export.onnx import check_opset
from faceparse.core.export.openvino import check_place
from faceparse.core.export.read import load_file
from faceparse.core.export.verify import CHECKED_BATCHES, Check, compare_numbers, drawn_crops, score
from faceparse.core.files.writing import make_folder, write_atomic_with, write_files_with, write_folder_with
from faceparse.core.images.crop import LARGEST, SMALLEST, STEP, prepare_photo
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import Size
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.names.model_file import ENSEMBLE_FILE, SUFFIXES
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.parser.ensemble_file import EnsembleModel
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import Network, ParsingNetwork, TrainedModel
from faceparse.core.runtime.checksums import MODEL, is_bundle, refuse_other_than_bundle
from faceparse.core.runtime.kinds import Kind, Sizes
from faceparse.core.scoring.built_in_groups import photograph_groupings
from faceparse.core.scoring.counting import evaluate
from faceparse.core.scoring.groups import Grouping
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import Scores, compute_scores
from faceparse.core.scoring.split import Split
from faceparse.core.scoring.summary import Summary

CALIBRATION = 64
"""Training photographs that the ranges of int8 are measured on."""


@dataclass(frozen=True)
class ExportReport:
    """One written file, the checks that it passed, and its scores."""

    format: str
    path: Path
    model: ExportedModel
    size: int
    """Bytes of the model's file, or of both where it has two."""
    checks: tuple[Check, ...]
    scores: Scores | None
    """Scores on the dataset; None without a dataset."""
    summary: Summary | None = None
    """Counts and intervals behind the scores; None without a dataset."""

    @property
    def shapes(self) -> str:
        """Inputs and outputs of the graph, for people."""
        model, classes = self.model, len(self.model.label_set)
        height, width = model.settings.data.input_size if model.sizes == "fixed" else ("H", "W")
        sides = f" (H and W: multiples of {STEP} from {SMALLEST} to {LARGEST})" if model.sizes == "any" else ""
        if model.kind == "labels":
            return f"image N x {height} x {width} x 3 uint8 -> labels N x {height} x {width} uint8{sides}"
        return f"image N x 3 x {height} x {width} -> parsing N x {classes} x {height} x {width}{sides}"

    @property
    def agreement(self) -> float:
        """Smallest share of pixels with the reference's class."""
        return min(check.agreement for check in self.checks)

    @property
    def difference(self) -> float | None:
        """Largest difference of a logit; None where the file answers with labels."""
        return max((check.difference for check in self.checks if check.difference is not None), default=None)


DEFAULT_F1_DROP = 0.01


Exportable = Checkpoint | EnsembleModel | ExportedModel
"""A checkpoint, an ensemble of them, or an imported network, whose graph is ONNX already."""


def read_exportable(source: str | Path) -> Exportable:
    """Load a model that can be exported.

    Raises:
        CheckpointError: neither a checkpoint, nor an ensemble, nor an imported network.
    """
    model = load_file(source)
    if not isinstance(model, Exportable) or (isinstance(model, ExportedModel) and not model.foreign):
        raise CheckpointError(f"{source}: is exported already; give the checkpoint that it was made from")
    return model


def check_possible(model: Exportable, formats: Sequence[str], layout: str | None = None) -> None:
    """Refuse, before long work, what an imported network or an ensemble cannot become.

    Raises:
        ExportError: a graph is ONNX already, and a format or the layout needs PyTorch's weights; or a format holds the
            weights of one network.
    """
    alone = [name for name in formats if FORMATS[PAGES.get(name, name)].holds_weights]
    if isinstance(model, EnsembleModel) and alone:
        raise ExportError(f"{alone[0]}: holds the weights of one network, not of an ensemble; take onnx")
    if not model.foreign:
        return
    kinds = ", ".join(name for name, known in FORMATS.items() if known.servable)
    graphs = [name for name in formats if not FORMATS[PAGES.get(name, name)].servable]
    if layout or graphs:
        raise ExportError(
            f"{f'--layout {layout}' if layout else graphs[0]}: an imported network has no PyTorch weights "
            f"({model.source}); take one of {kinds}, or the file that was imported"
        )


def beside_model(model: TrainedModel, ending: str) -> Path:
    """Default path of a file that is made from a model.

    The path is beside the model's file or its bundle. For a copy (a shipped or downloaded model) it is in the working
    folder.
    """
    own = model.path.parent if is_bundle(model.path.parent) else model.path
    name = own.name if model.address is None else model.short_name
    stem = name.removesuffix(Path(name).suffix if name.endswith((*SUFFIXES, ".bundle", ENSEMBLE_FILE)) else "")
    return (Path() if model.address else own.parent) / f"{stem}{ending}"


class Exporter:
    """Writes one checkpoint in any number of formats. Shared work is done once.

    report = Exporter(read_exportable("best.pth")).export("onnx", Path("best.onnx"))
    """

    device = torch.device("cpu")

    def __init__(
        self,
        checkpoint: Exportable,
        *,
        kind: Kind = "logits",
        input_size: Size | None = None,
        fixed_size: bool = False,
        scored_on: Split | None = None,
        max_f1_drop: float | None = None,
        opset: int | None = None,
        track: Track = untracked,
    ) -> None:
        """Prepare the network.

        Args:
            input_size: replaces the checkpoint's input size.
            fixed_size: take crops of that size only, even where the network could take other sizes.
            scored_on: photographs to score the files on; without them, only numbers are compared.
            max_f1_drop: refuse a file whose mean F1 is lower than PyTorch's by more than this. Default: 0.01.
            opset: version of ONNX's operators in ONNX files. Default: PyTorch's choice.

        Raises:
            SettingsError: a drop cannot be judged without photographs, no file of this opset can be written, or an
                imported network cannot be changed so.
        """
        check_opset(opset)
        own = checkpoint.settings.data.input_size
        changed = {
            "--preprocessing": kind != "logits",
            "--input-size": input_size not in (None, own),
            "--opset": opset is not None,
        }
        if checkpoint.foreign and (option := next((name for name, wanted in changed.items() if wanted), None)):
            raise SettingsError(f"{option}: not for an imported network ({checkpoint.source}), whose graph is fixed")
        if max_f1_drop is not None and scored_on is None:
            raise SettingsError("--max-f1-drop needs photographs to score on; name a dataset with --data-dir")
        data = checkpoint.settings.data
        data = data.model_copy(update={"input_size": input_size or data.input_size})
        self.checkpoint = replace(checkpoint, settings=checkpoint.settings.model_copy(update={"data": data}))
        self.network = self.checkpoint.network(self.device)
        self.scored_on = scored_on
        self._max_f1_drop = DEFAULT_F1_DROP if max_f1_drop is None else max_f1_drop
        self._kind, self._track, self.opset = kind, track, opset
        self._wanted: Sizes = "fixed" if fixed_size else "any"

    def export(self, format_name: str, path: Path, *, bundle: bool = False) -> ExportReport:
        """Write `path`, a file or a bundle's folder.

        Raises:
            ExportError: the network cannot be exported, or the result is not as good; `path` stays as it was.
            DatasetError: the format needs training photographs, and they cannot be read.
            OutputError: `path` cannot be written.
            SettingsError: the format's files have other names.
        """
        if bundle:
            refuse_other_than_bundle(path)
            self._prepare(format_name, path)
            return self._export_folder(
                format_name,
                path,
                f"{MODEL}{FORMATS[format_name].suffix}",
                lambda folder, report: fill_bundle(folder, report.model, format_name, report.summary, self.scored_on),
            )
        if FORMATS[format_name].beside:
            check_place(path)
        self._prepare(format_name, path)
        report: ExportReport | None = None

        def write_and_verify(file: BinaryIO) -> None:
            nonlocal report
            self._write(format_name, file)
            report = self._verify(format_name, Path(file.name), path)

        def write_at(place: Path) -> None:
            with place.open("wb") as file:
                write_and_verify(file)

        if FORMATS[format_name].beside:
            write_files_with(path, write_at)
        else:
            write_atomic_with(path, write_and_verify)
        assert report is not None
        return report

    def export_page(self, name: str, path: Path, runtime: WebRuntime) -> ExportReport:
        """Write the folder `path` with a page of `PAGES`, for any static host.

        Raises:
            ExportError, DatasetError: as `export`.
            SettingsError: the network sees stretched photographs, which the page does not do.
            OutputError: `path` cannot be written, or holds other files than a page's.
        """
        if self.checkpoint.fit != "crop":
            raise SettingsError(f"{name}: not for a network that sees stretched photographs ({self.checkpoint.source})")
        refuse_other_than_page(path)
        self._prepare(PAGES[name], path)
        report = self._export_folder(
            PAGES[name],
            path,
            PAGE_MODEL,
            lambda folder, report: fill_page(folder, report.model, self.checkpoint.short_name, runtime),
        )
        return replace(report, format=name)

    def _prepare(self, format_name: str, path: Path) -> None:
        check_possible(self.checkpoint, [format_name])
        make_folder(path.parent)
        if FORMATS[format_name].calibrated:
            self._training_photographs()  # fails here, before the long work, if they are missing

    def _export_folder(
        self, format_name: str, path: Path, name: str, fill: Callable[[Path, ExportReport], None]
    ) -> ExportReport:
        """Write a folder with a verified model of that name, and let `fill` add the other files."""
        report: ExportReport | None = None

        def write(folder: Path) -> None:
            nonlocal report
            with (folder / name).open("wb") as file:
                self._write(format_name, file)
                report = replace(self._verify(format_name, Path(file.name), path / name), path=path)
            fill(folder, report)

        write_folder_with(path, write)
        assert report is not None
        return report

    @property
    def reference(self) -> str:
        """Name of the file that the files are compared with, for people."""
        return "the imported file" if self.checkpoint.foreign else "PyTorch"

    @cached_property
    def graph(self) -> Graph:
        """The graph that all files compute. Finding out whether it takes any size needs seconds."""
        assert isinstance(self.network, ParsingNetwork)
        return build_graph(self.network, self._kind, self._wanted)

    @cached_property
    def _writers(self) -> dict[str, Write]:
        if isinstance(self.checkpoint, ExportedModel):
            known = to_metadata(self.checkpoint, self._kind, self.checkpoint.sizes, self.checkpoint.largest_batch)
            return onnx_writers(self.checkpoint.path, known, self._calibration, self._judgement)
        metadata = to_metadata(self.checkpoint, self._kind, self.graph.sizes)
        weights = self.checkpoint.weights if isinstance(self.checkpoint, Checkpoint) else {}
        return writers(self.graph, metadata, self._calibration, weights, self._judgement, opset=self.opset)

    @cached_property
    def scores(self) -> Scores | None:
        """PyTorch's scores on the dataset, computed on first use; None without a dataset."""
        summary = self._score(self.network)
        return None if summary is None else summary.scores

    def _write(self, format_name: str, file: BinaryIO) -> None:
        own = self.checkpoint.foreign is None
        fix = "; try --fixed-size" if own and self.graph.sizes == "any" else ""
        self.write_with(self._writers[format_name], file, fix)

    def write_with(self, write: Write, file: BinaryIO, fix: str = "") -> None:
        """Let `write` write into `file`.

        Raises:
            ExportError: it cannot. The message ends with `fix`.
        """
        try:
            write(file)
        except (FaceparseError, OSError):
            raise
        except Exception as error:  # exporters raise errors of many kinds
            raise ExportError(f"{self.checkpoint.path}: cannot be exported ({first_line(error)}){fix}") from error
        file.flush()

    def _verify(self, format_name: str, file: Path, path: Path) -> ExportReport:
        model = replace(read_exported(file, FORMATS[format_name]), path=path)
        network = replace(model, path=file).network(self.device)
        labels = model.kind == "labels"
        crops = [drawn_crops(batch, network.input_size) for batch in CHECKED_BATCHES]
        if model.sizes == "any":
            crops.append(drawn_crops(CHECKED_BATCHES[0], another_size(network.input_size)))
        known, reference = FORMATS[format_name], self.reference
        checks = tuple(
            compare_numbers(self.network, network, one, known, labels=labels, reference=reference) for one in crops
        )
        summary = self.judge(format_name, network)
        scores = summary.scores if summary else None
        beside = FORMATS[format_name].beside
        size = sum(one.stat().st_size for one in (file, *([file.with_suffix(beside)] if beside else [])))
        return ExportReport(format_name, path, model, size, checks, scores, summary)

    def _score(self, network: Network) -> Summary | None:
        if self.scored_on is None:
            return None
        return score(network, self.scored_on, self._groupings, self._track, self.checkpoint.fit)

    @cached_property
    def _groupings(self) -> tuple[Grouping, ...]:
        split = self.scored_on
        return () if split is None else photograph_groupings(split.samples, split.label_set, track=self._track)

    def judge(self, what: str, network: Network) -> Summary | None:
        """Score an exported network, and compare its scores with PyTorch's. None without a dataset.

        Args:
            what: name of the export in errors.

        Raises:
            ExportError: its mean F1 is too low.
        """
        if self.scores is None or (summary := self._score(network)) is None:
            return None
        drop = self.scores.mean_f1 - summary.scores.mean_f1
        if drop > self._max_f1_drop:
            raise ExportError(
                f"{what}: mean F1 {summary.scores.mean_f1:.4f} where {self.reference} has {self.scores.mean_f1:.4f}, a "
                f"drop of {drop:.4f}, more than --max-f1-drop {self._max_f1_drop}; nothing was written"
            )
        return summary

    def _training_photographs(self, start: int = 0) -> Sequence[Sample]:
        """Photographs spread over the training set; with `start` 1, others of it as far as there are any."""
        root = self.scored_on.root if self.scored_on else self.checkpoint.trained_on
        if root is None:
            raise ExportError(f"{self.checkpoint.source}: int8 needs photographs; name a dataset with --data-dir")
        samples = DatasetFolder(root).samples("train")
        step = max(1, len(samples) // CALIBRATION)
        return samples[start % step :: step][:CALIBRATION]

    def _calibration(self) -> Iterator[Tensor]:
        """Yield photographs one at a time, as inputs of the graph."""
        data = self.checkpoint.settings.data
        prepare = GraphInput(self._kind, data)
        for sample in self._training_photographs():
            crop = prepare_photo(read_image(sample.image), data.input_size, self.checkpoint.fit).crop
            yield prepare(torch.from_numpy(crop).unsqueeze(0))

    def _judgement(self) -> Judgement:
        """By the F1 on training photographs: those of the split must not decide which layers are in int8."""
        data, label_set = self.checkpoint.settings.data, self.checkpoint.label_set

        def judge(run: TensorFunction, samples: Sequence[Sample]) -> float:
            network = GraphNetwork(self._kind, run, data, len(label_set), ArrayInput)
            confusion = evaluate(Parser(network, self.device, self.checkpoint.fit), samples, len(label_set), [DEFAULT])[
                DEFAULT
            ]
            return compute_scores(confusion, label_set).mean_f1

        return Judgement(self._training_photographs(start=1), judge, self._max_f1_drop)
