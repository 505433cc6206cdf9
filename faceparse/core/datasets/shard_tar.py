"""Write photographs as a tar that the library webdataset reads, too: KEY.jpg, KEY.png, KEY.edge.png, KEY.json."""

import io
import json
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from faceparse.core.datasets.shard import Row, Shard

ENDINGS = {"label": ".png", "edge": ".edge.png", "label_raw": ".raw.png", "project": ".project.npy"}
"""File of a photograph -> ending of its name in the tar; the photograph's own is that of its file."""


def write_tar(path: Path, rows: Iterable[Row]) -> Shard:
    """Write the rows to a tar; the same rows give the same bytes. Return its line of the index.

    Raises:
        OSError: it cannot be written.
    """
    files: dict[str, tuple[int, int, int]] = {}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, row in enumerate(rows):
            key = f"{path.stem}-{number:06d}"  # webdataset takes all after the first point for the ending
            for file, data in row.contents.items():
                offset = add_member(tar, key + _ending(file, row.names[file]), data)
                files[row.names[file]] = (offset, len(data), zlib.crc32(data))
            add_member(tar, f"{key}.json", json.dumps({"id": row.id, **row.names}).encode())
    return Shard(path.name, path.stat().st_size, files)


def _ending(file: str, name: str) -> str:
    return photograph_ending(PurePosixPath(name).suffix) if file == "image" else ENDINGS[file]


def photograph_ending(suffix: str) -> str:
    """Ending of a photograph's name in the tar, by its file's suffix: another one than that of its labels."""
    suffix = suffix.lower() or ".jpg"
    return f".photograph{suffix}" if suffix == ENDINGS["label"] else suffix


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a member; return the number of bytes before its content."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    offset = tar.offset + tarfile.BLOCKSIZE  # after the header
    tar.addfile(info, io.BytesIO(data))
    return offset
