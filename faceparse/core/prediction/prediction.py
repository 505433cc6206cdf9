"""Checks a whole `faceparse predict` before anything is done, then does it."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.faces.choose_finder import AUTO, NONE, check_min_face, choose_finder, chosen_finder
from faceparse.core.faces.face import Finder
from faceparse.core.faces.finders_from_files import Boxes
from faceparse.core.faces.geometry import FaceGeometry, if_consistent
from faceparse.core.faces.outline import Outline, read_length
from faceparse.core.faces.own_finder import MIN_FACE
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.machine.stopping import ending_cleanly
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.camera import Camera
from faceparse.core.prediction.failed import write_failed
from faceparse.core.prediction.films import Film, FilmReport, predict_film
from faceparse.core.prediction.input_shard import InputShard, read_input_shard
from faceparse.core.prediction.inputs import Inputs, Source, camera_name, gather
from faceparse.core.prediction.made_with import Origin, describe_label_set
from faceparse.core.prediction.output_parts import begin_parts, take_out_again
from faceparse.core.prediction.parsed_photographs import PhotographParser
from faceparse.core.prediction.prediction_ledger import Ledger, open_ledger
from faceparse.core.prediction.ray_photographs import RayPool
from faceparse.core.prediction.remaining import remaining
from faceparse.core.prediction.saved_photographs import note_photographs, saved_photographs
from faceparse.core.prediction.saving import (
    FILES,
    OF_CLASSES,
    OUTLINED,
    PHOTOGRAPHS_ALONE,
    Outputs,
    choose_classes,
    choose_form,
    choose_kinds,
    make_output_folder,
    mask_names,
)
from faceparse.core.prediction.smoothing import check_keep
from faceparse.core.prediction.tool_files import write_tool_files
from faceparse.core.prediction.video import Video, check_pyav
from faceparse.core.prediction.write_report import write_report
from faceparse.core.runtime.checksums import sha256

DEFAULT_SAVE = ("labels", "overlays")
DEFAULT_SAVE_OF_PARTS = ("labels",)
DEFAULT_SAVE_OF_FILMS = ("overlays",)
"""Not labels: nobody expects one file per frame without asking for it."""


@dataclass
class PredictReport:
    """Result of a whole `faceparse predict`."""

    photographs: int = 0
    """Number of photographs that were parsed."""
    films: list[FilmReport] = field(default_factory=list)
    faceless: list[str] = field(default_factory=list)
    """Photographs that were parsed, but without a face."""
    broken: list[str] = field(default_factory=list)
    """One line for each photograph or video that could not be read."""
    notices: list[str] = field(default_factory=list)
    """One line for each photograph that was parsed, but whose file has a peculiarity that users should know."""
    before: int = 0
    """Number of photographs that an earlier command had parsed."""
    broken_before: int = 0
    """Number of photographs that are broken as an earlier command found, and were not tried again."""
    failed: Path | None = None
    """List of all broken photographs; None if there are none."""
    page: Path | None = None
    """The report as HTML, where it was asked for."""

    @property
    def left_out(self) -> int:
        """Number of photographs and videos that are broken, as this or an earlier command found."""
        return len(self.broken) + self.broken_before


@dataclass(frozen=True)
class PredictionPlan:
    """Inputs and outputs that fit together."""

    inputs: Inputs
    outputs: Outputs
    film_outputs: Outputs
    finder: Finder | Literal["auto"] | None
    """`auto`: the parser itself finds faces, if it can. None: pictures are parsed as a whole."""
    min_face: float
    smooth: float
    options: Origin
    """Options that photographs' outputs depend on."""
    shard: InputShard | None = None
    resume: bool = False
    retry_failed: bool = False
    report: bool = False

    def run(
        self,
        parser: Parser,
        *,
        geometry: FaceGeometry | None = None,
        part_classes: LabelSet | None = None,
        origin: Origin | None = None,
        batch_size: int = 4,
        pool: RayPool | None = None,
        track: Track = untracked,
        tell: Callable[[str], object] = lambda _: None,
    ) -> PredictReport:
        """Parse everything; to resume, what an earlier command has not parsed.

        Args:
            origin: what else outputs depend on: the model, see `origin_of`.
            tell: shows a line before the work.
            geometry: where faces lie in the parser's training crops.
            pool: parses the photographs in place of this process; it has the same model.
            part_classes: label set in whose classes the parser finds faces. Default: that of the outputs.

        Raises:
            OutputError: the output folder cannot be written, or holds a dataset, or parts of which no ledger knows.
            InterruptedRunError: SIGTERM came; what is done is noted.
            DeviceError: there is no such camera.
            SettingsError: the command is to resume, or the folder holds parts, but its outputs were made with other
                options; or there is a `pool`, and a video.
            ResourceError: the `pool` has no cluster, or nothing comes back from it.
            DatasetError: the command is to resume, but outputs of another photograph have the same name.
        """
        if pool is not None:
            self._refuse_films()
        geometry = if_consistent(geometry)
        part_classes = part_classes or self.outputs.label_set
        find = partial(chosen_finder, self.finder, parser, geometry, part_classes, self.min_face)
        report = PredictReport()
        with nullcontext() if pool is None else pool.joined():
            make_output_folder(self.outputs.folder)
            if self.inputs.photographs:
                made_with = {**(origin or {}), **self.options, "--input-size": ",".join(map(str, parser.input_size))}
                one = PhotographParser(parser, find(film=False), geometry, batch_size)
                self._photographs(made_with, one, pool, report, track, tell)
        films: list[tuple[str, Film]] = [(source.name, Video(source.where)) for source in self.inputs.videos]
        films += [(camera_name(number), Camera(number)) for number in self.inputs.cameras]
        for name, film in films:
            try:
                report.films.append(
                    predict_film(
                        parser,
                        film,
                        name,
                        self.film_outputs,
                        finder=find(film=True),
                        geometry=geometry,
                        smooth=self.smooth,
                        batch_size=batch_size,
                        track=track,
                    )
                )
            except DatasetError as error:  # one broken video must not stop the others
                report.broken.append(str(error))
        return report

    def _photographs(
        self,
        made_with: Origin,
        parser: PhotographParser,
        pool: RayPool | None,
        report: PredictReport,
        track: Track,
        tell: Callable[[str], object],
    ) -> None:
        folder, photographs = self.outputs.folder, self.inputs.photographs
        names, parts = [source.name for source in photographs], self.outputs.to != FILES
        opened = open_ledger(folder, made_with, names, shard=self.shard, resume=self.resume, parts=parts)
        with ending_cleanly(f"{folder}: stopped; --resume goes on"), opened as ledger:
            begin_parts(self.outputs, ledger)
            sources = self._sources(ledger, report, tell)
            take_out_again(self.outputs, ledger, sources)
            if pool is None:
                saved = saved_photographs(parser, sources, self.outputs)
            else:
                saved = pool.saved_photographs(
                    sources, self.outputs, self.finder, self.min_face, batch_size=parser.batch_size, tell=tell
                )
            with closing(saved):
                report.photographs, report.faceless, report.broken, report.notices = note_photographs(
                    saved, sources, self.outputs, ledger, track
                )
            report.failed = write_failed(folder, photographs, ledger, self.shard)
            if self.shard is None:
                write_tool_files(self.outputs, photographs, ledger)
            if self.report:
                report.page = write_report(photographs, ledger, parser, self.outputs, track)

    def _refuse_films(self) -> None:
        films = [source.where for source in self.inputs.videos] + [f"webcam:{one}" for one in self.inputs.cameras]
        if films:
            raise SettingsError(
                f"--ray is for photographs; parse {films[0]} by a command without it, and name the photographs beside "
                "videos by a pattern, such as 'a/**/*.jpg'"
            )

    def _sources(self, ledger: Ledger, report: PredictReport, tell: Callable[[str], object]) -> list[Source]:
        """Photographs to parse; the others are counted in the report."""
        sources, folder = self.inputs.photographs, self.outputs.folder
        if self.resume:
            left = remaining(sources, self.outputs, ledger, retry_failed=self.retry_failed)
            report.before, report.broken_before = left.done, left.failed
            if left.done or left.failed:
                tell(f"{folder}: goes on; {left.done} of {len(sources)} photographs are parsed already")
            return left.new
        with suppress(DatasetError):  # of another photograph: its outputs are replaced, as always without --resume
            left = remaining(sources, self.outputs, ledger)
            if left.done:
                tell(f"{folder}: parses all {len(sources)} photographs; --resume would pass over {left.done} of them")
        return sources


def plan_prediction(
    typed: Sequence[str],
    output: Path,
    *,
    label_set: LabelSet,
    model: str,
    recursive: bool = False,
    save: str | None = None,
    classes: str | None = None,
    faces: str = AUTO,
    min_face: float = MIN_FACE,
    smooth: float = 0.0,
    grow: str = "0",
    feather: str = "0",
    to: str = FILES,
    shard: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    report: bool = False,
    stdin: Callable[[], bytes] = bytes,
    column: str | None = None,
) -> PredictionPlan:
    """Check what was typed and return a plan; nothing is written.

    Args:
        model: where the network is from, for the JSON.
        faces: auto, none, YuNet's .onnx file or a .json file of boxes.
        min_face: height of the smallest face that `auto` looks for, as a share of the picture's.
        grow, feather: how far cut-outs and masks reach beyond their classes, and how wide their edge fades: pixels, or
            `5%` of the face's height.
        to: where outputs of photographs go: files, parquet or webdataset.
        shard: `3/16`: only photographs and videos of this part.
        resume: whether to pass over photographs that are done, `retry_failed`: but not those that were broken.
        report: whether to write a report about all photographs.
        stdin: reads what `-` stands for.
        column: column of Parquet files; default: `image`, or the only one of the table.

    Raises:
        SettingsError: an option has a bad value or no effect.
        DatasetError: an input does not exist.
        ResourceError: a package that an input or the outputs need is not installed.
    """
    if retry_failed and not resume:
        raise SettingsError("--retry-failed is for a command that goes on; add --resume")
    part = read_input_shard(shard) if shard is not None else None
    if report and part is not None:
        raise SettingsError(
            f"--report is about all shards; leave out --shard {part}, and add --resume when all of them are done"
        )
    inputs = gather(typed, output, recursive=recursive, stdin=stdin, column=column)
    films = bool(inputs.videos or inputs.cameras)
    kinds = choose_kinds(save) if save else None
    choose_form(to, kinds)
    if classes and OF_CLASSES.isdisjoint(kinds or ()):
        raise SettingsError("--classes is for cut-outs, alpha and masks; add --save cutouts, alpha or masks")
    outline = Outline(read_length(grow, "--grow", negative=True), read_length(feather, "--feather"))
    if not outline.as_labelled and OUTLINED.isdisjoint(kinds or ()):
        raise SettingsError("--grow and --feather are for cut-outs and masks; add --save cutouts or masks")
    if "masks" in (kinds or ()):
        mask_names(label_set)
    if "labelme" in (kinds or ()) and (packed := next((one for one in inputs.photographs if one.content), None)):
        raise SettingsError(f"--save labelme: LabelMe opens photographs that are files, and {packed.where} is none")
    if kinds and set(kinds) <= PHOTOGRAPHS_ALONE and not inputs.photographs:
        raise SettingsError(f"--save {kinds[0]} is for photographs, and there are only videos; use labels or json")
    if to != FILES and not inputs.photographs:
        raise SettingsError(f"--to {to} is for photographs, and there are only videos; leave it out")
    if report and not inputs.photographs:
        raise SettingsError("--report is about photographs, and there are only videos; leave it out")
    if smooth and not films:
        raise SettingsError("--smooth is for videos and cameras, and there are only photographs")
    check_keep(smooth)
    finder = choose_finder(faces)
    if films and isinstance(finder, Boxes):
        raise SettingsError(f"--faces {faces}: boxes are of photographs; for videos name YuNet's .onnx file")
    if films:
        check_pyav()
    default = DEFAULT_SAVE if to == FILES else DEFAULT_SAVE_OF_PARTS
    shown = choose_classes(classes, label_set)
    outputs = Outputs(output, label_set, kinds or default, shown, model, outline, to, part)
    of_films = replace(outputs, kinds=kinds or DEFAULT_SAVE_OF_FILMS, to=FILES)
    _refuse_overwriting(inputs, outputs, of_films)
    options = _options(outputs, faces, check_min_face(min_face))
    if part is not None:
        if inputs.cameras:
            raise SettingsError(f"--shard {part}: a camera has no parts; leave out webcam:{inputs.cameras[0]}")
        inputs = inputs.part(part)
    return PredictionPlan(
        inputs, outputs, of_films, finder, min_face, smooth, options, part, resume, retry_failed, report
    )


def _options(outputs: Outputs, faces: str, min_face: float) -> dict[str, str]:
    """Options that the outputs of photographs depend on."""
    kinds, names = set(outputs.kinds), outputs.label_set.names
    options = {
        "--save": ",".join(sorted(kinds)),
        "--label-set": describe_label_set(outputs.label_set),
        "--faces": faces if faces in (AUTO, NONE) else f"file {sha256(Path(faces))}",
    }
    if outputs.to != FILES:  # folders of files keep their settings from before there were parts
        options["--to"] = outputs.to
    if faces == AUTO:
        options["--min-face"] = f"{min_face:g}"
    if kinds & OF_CLASSES:
        options["--classes"] = ",".join(names[id_] for id_ in outputs.shown)
    if kinds & OUTLINED:
        options |= {"--grow": str(outputs.outline.grow), "--feather": str(outputs.outline.feather)}
    return options


def _refuse_overwriting(inputs: Inputs, *outputs: Outputs) -> None:
    """Raise OutputError where an input lies in a folder that outputs go to: one of them could replace it."""
    folders = {Path(os.path.realpath(one.folder / kind)) for one in outputs for kind in (*one.kinds, one.to)}
    for file in dict.fromkeys(source.file for source in (*inputs.photographs, *inputs.videos)):
        if file is not None and not folders.isdisjoint(Path(os.path.realpath(file)).parents):
            raise OutputError(
                f"{file}: lies where outputs are written, and one could replace it; choose another --output"
            )
