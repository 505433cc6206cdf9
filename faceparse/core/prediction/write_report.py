"""Writes `report.html` and `report.json` about all photographs of a `predict`, or about parts alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from faceparse.core.datasets.shard_parquet import must_have_pyarrow
from faceparse.core.errors import DatasetError
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.images.overlay import overlay
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.pages.html import data_uri
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.parsed_photographs import PhotographParser, parsed_photographs, paste_back
from faceparse.core.prediction.parsing_report import SMALL, Measured, ParsingReport, Sure, report_json, summarize
from faceparse.core.prediction.parsing_report_page import PICTURE_SIDE, Pictures, parsing_report_page
from faceparse.core.prediction.part_facts import measured_in, parquet_classes
from faceparse.core.prediction.part_row import utf8
from faceparse.core.prediction.photograph_states import Parsed
from faceparse.core.prediction.prediction_ledger import Ledger
from faceparse.core.prediction.saving import Outputs


def write_report(
    sources: Sequence[Source], ledger: Ledger, parser: PhotographParser, outputs: Outputs, track: Track = untracked
) -> Path:
    """Write the report on `sources`, as far as the ledger has them, and return the page's path.

    The least sure photographs are parsed once more, for the page.

    Raises:
        OutputError: it cannot be written, or the ledger is damaged.
    """
    classes, height = outputs.label_set.classes, parser.parser.input_size[0]
    report = summarize(_noted(sources, ledger), classes, SMALL * height)
    shown = _find(sources, report.least_sure)
    pictures = dict(track(_draw(parser, shown, outputs), len(shown), "report"))
    return save_report(outputs.folder, report, pictures)


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
    report = summarize(measured_in(found, classes), dict.fromkeys(classes, ""), knows_broken=False)
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


def _draw(parser: PhotographParser, sources: Sequence[Source], outputs: Outputs) -> Iterator[tuple[str, Pictures]]:
    """Yield names of photographs with their pictures; one that is gone has none."""
    for one in parsed_photographs(parser, sources):
        parsed = paste_back(*one, outputs)
        if isinstance(parsed, Parsed):
            image, name = parsed.photo.picture.image, parsed.photo.source.name
            painted = overlay(image, parsed.labels.label, outputs.label_set.palette())
            yield name, Pictures(data_uri(image, PICTURE_SIDE), data_uri(painted, PICTURE_SIDE))
