"""Chooses the photographs of which a model is least sure: ranks, lists and copies them."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from faceparse.core.errors import OutputError, SettingsError
from faceparse.core.faces.choose_finder import AUTO, check_min_face, choose_finder
from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry, if_consistent
from faceparse.core.faces.own_finder import MIN_FACE, own_finder
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.tables import csv_text
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.mirrored import check_mirror
from faceparse.core.prediction.inputs import STDIN, Source, gather
from faceparse.core.prediction.photograph_states import Broken
from faceparse.core.prediction.uncertainty import Doubtful, photographs_with_doubt

COLUMNS = ("photograph", "uncertainty", "entropy", "disagreement", "faces")


@dataclass(frozen=True)
class ChoiceReport:
    """Result of a whole `faceparse uncertain`."""

    ranked: list[Doubtful]
    """Photographs, the least sure first; photographs without a measure come last."""
    chosen: list[Doubtful]
    """The first ones, which were asked for."""
    broken: list[str]
    """One line for each photograph that could not be read."""


@dataclass(frozen=True)
class ChoicePlan:
    """Photographs, and where the choice goes."""

    photographs: list[Source]
    passed_over: list[Path]
    """Inputs that are no photographs."""
    copied_before: list[Source]
    """Photographs that an earlier choice copied to the folder; they are not ranked again."""
    label_set: LabelSet
    table: Path
    first: int
    copy: Path | None
    finder: Finder | Literal["auto"] | None
    min_face: float

    def run(
        self,
        parser: Parser,
        *,
        geometry: FaceGeometry | None = None,
        part_classes: LabelSet | None = None,
        batch_size: int = 4,
        track: Track = untracked,
    ) -> ChoiceReport:
        """Measure all photographs, write the table, and copy the first ones.

        Args:
            geometry: where faces lie in the parser's training crops.
            part_classes: label set in whose classes the parser finds faces. Default: that of its labels.

        Raises:
            OutputError: the table or a copy cannot be written.
        """
        if self.copy is not None:
            make_folder(self.copy)
        geometry = if_consistent(geometry)
        finder = self.finder
        if finder == "auto":
            finder = own_finder(parser, geometry, part_classes or self.label_set, self.min_face)
        measured = photographs_with_doubt(
            parser, self.photographs, self.label_set, finder=finder, geometry=geometry, batch_size=batch_size
        )
        found, broken = list[Doubtful](), list[str]()
        for one in track(measured, len(self.photographs), "uncertain"):
            if isinstance(one, Broken):
                broken.append(one.problem)
            else:
                found.append(one)
        ranked = rank(found)
        chosen = [one for one in ranked if one.doubt is not None][: self.first]
        write_atomic(self.table, table_csv(ranked).encode(errors="surrogateescape"))
        if self.copy is not None:
            for one in chosen:
                target = _copy_path(self.copy, one.source)
                if os.path.lexists(target):  # it came while the photographs were measured
                    raise OutputError(f"{target}: is there already; choose another --copy folder")
                write_atomic(target, one.source.bytes())
        return ChoiceReport(ranked, chosen, broken)


def plan_choice(
    typed: Sequence[str],
    table: Path,
    *,
    label_set: LabelSet,
    first: int = 20,
    copy: Path | None = None,
    recursive: bool = False,
    faces: str = AUTO,
    min_face: float = MIN_FACE,
    column: str | None = None,
) -> ChoicePlan:
    """Check what was typed and return a plan; nothing is written.

    Args:
        table: CSV file for the whole ranking.
        first: number of photographs to choose.
        copy: folder for copies of the chosen ones.
        faces: auto, none, YuNet's .onnx file or a .json file of boxes.
        column: column of Parquet files; default: `image`, or the only one of the table.

    Raises:
        SettingsError: an option has a bad value, or the label set's sides cannot be swapped.
        DatasetError: an input does not exist, or none is a photograph.
        OutputError: the folder has another photograph of the same name.
    """
    if table.suffix.lower() != ".csv":
        raise SettingsError(f"--output {table}: the ranking is a table; let its name end in .csv")
    if STDIN in typed:
        raise SettingsError("-: one photograph cannot be ranked; name files or folders")
    check_mirror(label_set, "uncertain")
    inputs = gather(typed, table.parent, recursive=recursive, stdin=bytes, column=column)
    photographs, before = _split_copied(inputs.photographs, copy)
    nameless = next((one for one in photographs if one.content and not PurePath(one.where).suffix), None)
    if copy is not None and nameless is not None:
        raise SettingsError(f"--copy: {nameless.where} is a row, not a file with a name; leave out --copy")
    if not inputs.photographs:
        raise SettingsError("no photographs among the inputs, only videos or cameras; take pictures from them first")
    if not photographs:
        raise SettingsError(f"{copy}: has all {len(before)} photographs already; nothing is left to choose from")
    return ChoicePlan(
        photographs=photographs,
        passed_over=[*inputs.passed_over, *(Path(video.where) for video in inputs.videos)],
        copied_before=before,
        label_set=label_set,
        table=table,
        first=first,
        copy=copy,
        finder=choose_finder(faces),
        min_face=check_min_face(min_face),
    )


def _split_copied(sources: Sequence[Source], folder: Path | None) -> tuple[list[Source], list[Source]]:
    """Photographs that may be copied to the folder, and those whose copies it has; its own files are neither."""
    if folder is None:
        return list(sources), []
    home, new, before = Path(os.path.realpath(folder)), [], []
    for source in sources:
        if home in Path(os.path.realpath(source.where)).parents:
            continue
        target = _copy_path(folder, source)
        if not os.path.lexists(target):
            new.append(source)
        elif target.is_file() and read_bytes(target) == source.bytes():
            before.append(source)
        else:
            raise OutputError(f"{target}: is there already and is not {source.where}; choose another --copy folder")
    return new, before


def _copy_path(folder: Path, source: Source) -> Path:
    return folder / f"{source.name}{Path(source.where).suffix}"


def rank(found: Iterable[Doubtful]) -> list[Doubtful]:
    """The photographs, the most uncertain first; equal ones by name, those without a measure last."""
    return sorted(
        found, key=lambda one: (one.doubt is None, -one.doubt.uncertainty if one.doubt else 0.0, one.source.name)
    )


def table_csv(ranked: Iterable[Doubtful]) -> str:
    """Content of the table, a line for each photograph. Numbers are empty where nothing was measured."""
    rows: list[Sequence[object]] = [COLUMNS]
    for one in ranked:
        doubt = one.doubt
        numbers = ("", "", "") if doubt is None else (doubt.uncertainty, doubt.entropy, doubt.disagreement)
        shown = [number if isinstance(number, str) else f"{number:.6f}" for number in numbers]
        rows.append([one.source.where, *shown, "" if one.faces is None else one.faces])
    return csv_text(rows)
