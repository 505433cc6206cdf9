"""Prepare a raw dataset as shards. It is prepared as loose files first, which are packed and removed."""

import shutil
from pathlib import Path

import tomli_w

from faceparse.core.datasets.pack import WRITERS, check_kind, pack
from faceparse.core.datasets.prepare import describe, prepare
from faceparse.core.datasets.prepare_record import MANIFEST, RECORD, read_outcomes, stamp_of
from faceparse.core.datasets.prepare_report import PrepareReport, report_of
from faceparse.core.datasets.shard_index import INDEX, read_index
from faceparse.core.datasets.source import Source
from faceparse.core.errors import OutputError
from faceparse.core.faces.alignment import Alignment
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import refuse_other_files
from faceparse.core.machine.parallel import Track, untracked


def prepare_shards(
    source: Source,
    out: Path,
    *,
    to: str,
    alignment: Alignment | None = None,
    archive: Path | None = None,
    processes: int = 1,
    track: Track = untracked,
) -> PrepareReport:
    """Write `source` to shards in `out`, which appears once all is written.

        prepare_shards(Synthetic(count=20), Path("dataset/synthetic-tar"), to="webdataset")

    A run that was interrupted continues. Where the shards are there, nothing is done.

    Args:
        to: webdataset (tar) or parquet.
        alignment, archive: as in `prepare`. An archive is unpacked below `loose_folder(out)`.

    Raises:
        SettingsError: no such kind of shards.
        ResourceError: the package for Parquet is not installed.
        DatasetError: the source or a finished shard cannot be read.
        OutputError: `out` cannot be written, or holds something else.
    """
    check_kind(to)
    loose = loose_folder(out)
    if (out / INDEX).is_file():
        report = _finished(source, out, to, alignment, archive)
    else:
        refuse_other_files(out, ())
        report = prepare(source, loose, alignment=alignment, archive=archive, processes=processes, track=track)
        pack(loose, out, to=to, processes=processes, track=track)
    shutil.rmtree(loose, ignore_errors=True)
    return report


def loose_folder(out: Path) -> Path:
    """Folder beside `out` for the files that are packed into it."""
    folder = out.resolve()
    return folder.with_name(f".{folder.name}.loose")


def _finished(source: Source, out: Path, to: str, alignment: Alignment | None, archive: Path | None) -> PrepareReport:
    """Report of shards that are there.

    Raises:
        DatasetError: one of them is missing or damaged.
        OutputError: they are of another kind, source or options, or the source has changed.
    """
    described = tomli_w.dumps(describe(source, alignment, archive)).encode()
    kinds = {packed.shard.suffix for packed in read_index(out).values()}
    if kinds != {WRITERS[to][0]} or not (out / MANIFEST).is_file() or read_bytes(out / MANIFEST) != described:
        raise OutputError(
            f"{out}: its shards are of another kind, or from another source or with other options (see {MANIFEST}); "
            "choose another folder"
        )
    outcomes = read_outcomes(out / RECORD)
    if archive is None:  # the manifest has the archive's size and date
        stamps = {item.id: stamp_of(item) for item in source.items()}
        if stamps != {outcome.id: outcome.source for outcome in outcomes.values()}:
            raise OutputError(f"{out}: the source has changed since; choose another folder, or remove this one")
    return report_of(outcomes, 0, source.label_set, alignment)
