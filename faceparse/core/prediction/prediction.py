"""Checks a whole `faceparse predict` before anything is done, then does it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.faces.choose_finder import AUTO, check_min_face, choose_finder
from faceparse.core.faces.face import Finder
from faceparse.core.faces.finders_from_files import Boxes
from faceparse.core.faces.geometry import FaceGeometry, if_consistent
from faceparse.core.faces.outline import Outline, read_length
from faceparse.core.faces.own_finder import MIN_FACE, own_finder
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.camera import Camera
from faceparse.core.prediction.films import Film, FilmReport, predict_film
from faceparse.core.prediction.inputs import Inputs, camera_name, gather
from faceparse.core.prediction.photographs import predict_photographs
from faceparse.core.prediction.saving import (
    OF_CLASSES,
    OUTLINED,
    PHOTOGRAPHS_ALONE,
    Outputs,
    choose_classes,
    choose_kinds,
    make_output_folder,
    mask_names,
)
from faceparse.core.prediction.smoothing import check_keep
from faceparse.core.prediction.video import Video, check_pyav

DEFAULT_SAVE = ("labels", "overlays")
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

    def run(
        self,
        parser: Parser,
        *,
        geometry: FaceGeometry | None = None,
        part_classes: LabelSet | None = None,
        batch_size: int = 4,
        track: Track = untracked,
    ) -> PredictReport:
        """Parse everything.

        Args:
            geometry: where faces lie in the parser's training crops.
            part_classes: label set in whose classes the parser finds faces. Default: that of the outputs.

        Raises:
            OutputError: the output folder cannot be written, or holds a dataset.
            DeviceError: there is no such camera.
        """
        make_output_folder(self.outputs.folder)
        report = PredictReport()
        geometry = if_consistent(geometry)
        find = partial(self._finder, parser, geometry, part_classes or self.outputs.label_set)
        if self.inputs.photographs:
            report.photographs, report.faceless, report.broken, report.notices = predict_photographs(
                parser,
                self.inputs.photographs,
                self.outputs,
                finder=find(film=False),
                geometry=geometry,
                batch_size=batch_size,
                track=track,
            )
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

    def _finder(
        self, parser: Parser, geometry: FaceGeometry | None, part_classes: LabelSet, *, film: bool
    ) -> Finder | None:
        if self.finder == "auto":
            return own_finder(parser, geometry, part_classes, self.min_face, film=film)
        return self.finder


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
    stdin: Callable[[], bytes] = bytes,
) -> PredictionPlan:
    """Check what was typed and return a plan; nothing is written.

    Args:
        model: where the network is from, for the JSON.
        faces: auto, none, YuNet's .onnx file or a .json file of boxes.
        min_face: height of the smallest face that `auto` looks for, as a share of the picture's.
        grow, feather: how far cut-outs and masks reach beyond their classes, and how wide their edge fades: pixels, or
            `5%` of the face's height.
        stdin: reads what `-` stands for.

    Raises:
        SettingsError: an option has a bad value or no effect.
        DatasetError: an input does not exist.
        ResourceError: there is a video or a camera, but PyAV is not installed.
    """
    inputs = gather(typed, output, recursive=recursive, stdin=stdin)
    films = bool(inputs.videos or inputs.cameras)
    kinds = choose_kinds(save) if save else None
    if classes and OF_CLASSES.isdisjoint(kinds or ()):
        raise SettingsError("--classes is for cut-outs, alpha and masks; add --save cutouts, alpha or masks")
    outline = Outline(read_length(grow, "--grow", negative=True), read_length(feather, "--feather"))
    if not outline.as_labelled and OUTLINED.isdisjoint(kinds or ()):
        raise SettingsError("--grow and --feather are for cut-outs and masks; add --save cutouts or masks")
    if "masks" in (kinds or ()):
        mask_names(label_set)
    if kinds and set(kinds) <= PHOTOGRAPHS_ALONE and not inputs.photographs:
        raise SettingsError(f"--save {kinds[0]} is for photographs, and there are only videos; use labels or json")
    if smooth and not films:
        raise SettingsError("--smooth is for videos and cameras, and there are only photographs")
    check_keep(smooth)
    finder = choose_finder(faces)
    if films and isinstance(finder, Boxes):
        raise SettingsError(f"--faces {faces}: boxes are of photographs; for videos name YuNet's .onnx file")
    if films:
        check_pyav()
    outputs = Outputs(output, label_set, kinds or DEFAULT_SAVE, choose_classes(classes, label_set), model, outline)
    of_films = replace(outputs, kinds=kinds or DEFAULT_SAVE_OF_FILMS)
    _refuse_overwriting(inputs, outputs, of_films)
    return PredictionPlan(inputs, outputs, of_films, finder, check_min_face(min_face), smooth)


def _refuse_overwriting(inputs: Inputs, *outputs: Outputs) -> None:
    """Raise OutputError where an input lies in a folder that outputs go to: one of them could replace it."""
    folders = {Path(os.path.realpath(one.folder / kind)) for one in outputs for kind in one.kinds}
    for source in (*inputs.photographs, *inputs.videos):
        if source.data is None and not folders.isdisjoint(Path(os.path.realpath(source.where)).parents):
            raise OutputError(
                f"{source.where}: lies where outputs are written, and one could replace it; choose another --output"
            )
