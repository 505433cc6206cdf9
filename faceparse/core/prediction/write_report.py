"""Writes `report.html` and `report.json` about all photographs of a `predict`, or about parts alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from faceparse.core.datasets.shard_parquet import must_have_pyarrow
from faceparse.core.errors import DatasetError
from faceparse.core.faces.crops import paste, settle
from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.images.overlay import overlay
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.pages.html import data_uri
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.parsed_photographs import Broken, parsed_photographs
from faceparse.core.prediction.parsing_report import SMALL, Measured, ParsingReport, Sure, report_json, summarize
from faceparse.core.prediction.parsing_report_page import PICTURE_SIDE, Pictures, parsing_report_page
from faceparse.core.prediction.part_facts import measured_in, parquet_classes
from faceparse.core.prediction.part_row import utf8
from faceparse.core.prediction.prediction_ledger import Ledger


def write_report(
    folder: Path,
    sources: Sequence[Source],
    ledger: Ledger,
    parser: Parser,
    label_set: LabelSet,
    *,
    finder: Finder | None = None,
    geometry: FaceGeometry | None = None,
    batch_size: int = 4,
    track: Track = untracked,
) -> Path:
    """Write the report on `sources`, as far as the ledger has them, and return the page's path.

    The least sure photographs are parsed once more, for the page.

    Raises:
        OutputError: it cannot be written, or the ledger is damaged.
    """
    report = summarize(_noted(sources, ledger), label_set.classes, SMALL * parser.input_size[0])
    shown = _find(sources, report.least_sure)
    pictures = dict(track(_draw(parser, shown, label_set, finder, geometry, batch_size), len(shown), "report"))
    return save_report(folder, report, pictures)


def write_parts_report(parts: Path, folder: Path) -> tuple[Path, int]:
    """Write the report on all Parquet parts of a folder, without a ledger, photographs or a model.

    It has no pictures, and cannot say which photographs were broken or which faces are too small.

    Returns:
        The page's path, and the number of photographs.

    Raises:
        DatasetError: there are no parts, or one is damaged.
        ResourceError: the package that reads Parquet is not installed.
        OutputError: the report cannot be written.
    """
    must_have_pyarrow("report")
    folders = (parts / "parquet", parts)
    found = next((sorted(one.glob("part-*.parquet")) for one in folders if any(one.glob("part-*.parquet"))), [])
    if not found:
        raise DatasetError(f"{parts}: no part-*.parquet in it; name a folder that predict --to parquet has written")
    classes = parquet_classes(found[0])
    report = summarize(measured_in(found, classes), dict.fromkeys(classes, ""))
    make_folder(folder)
    return save_report(folder, report, {}), report.photographs


def save_report(folder: Path, report: ParsingReport, pictures: dict[str, Pictures]) -> Path:
    """Write the two files of a report and return the page's path.

    Raises:
        OutputError: one cannot be written.
    """
    path = folder / "report.html"
    title = f"faceparse predict: {utf8(folder.name or str(folder))}"
    write_atomic(folder / "report.json", report_json(report))
    write_atomic(path, parsing_report_page(report, title, pictures).encode())
    return path


def _noted(sources: Sequence[Source], ledger: Ledger) -> Iterator[Measured]:
    for source in sources:
        entry = ledger.find(source.name, facts=True)
        if entry is not None:
            yield Measured(source.where, source.name, entry.facts, entry.problem)


def _find(sources: Sequence[Source], least: Sequence[Sure]) -> list[Source]:
    wanted = {one.name for one in least}
    return [source for source in sources if source.name in wanted]


def _draw(
    parser: Parser,
    sources: Sequence[Source],
    label_set: LabelSet,
    finder: Finder | None,
    geometry: FaceGeometry | None,
    batch_size: int,
) -> Iterator[tuple[str, Pictures]]:
    """Yield names of photographs with their pictures; one that is gone has none."""
    parsed = parsed_photographs(parser, sources, finder=finder, geometry=geometry, batch_size=batch_size)
    for photo, answers in parsed:
        if isinstance(photo, Broken):
            continue
        settled = settle([one() for one in answers], photo.crops)
        label = paste(settled, photo.crops, photo.picture.size, clear=photo.picture.clear).label
        image = photo.picture.image
        painted = overlay(image, label, label_set.palette())
        yield photo.source.name, Pictures(data_uri(image, PICTURE_SIDE), data_uri(painted, PICTURE_SIDE))
