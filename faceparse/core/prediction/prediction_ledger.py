"""The ledger of an output folder: which photographs are done or broken, and what the outputs were made with.

    predictions/ledger/settings.json     what all outputs of the folder were made with
    predictions/ledger/all.sqlite        a row for each photograph; of --shard 3/16: 3-of-16.sqlite

A row is written when all outputs of its photograph are in place, so a process that is killed loses the photographs in
flight. SQLite keeps a row whole or leaves it out. One process at a time writes a ledger.

Where many photographs' outputs are in one file, a part, a row names the part, and the rows of a part come all at once.
Until then, the table open_part keeps these photographs' rows and outputs. A photograph that was taken out of its part
keeps a row that names none.
"""

import json
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faceparse.core.errors import OutputError, SettingsError
from faceparse.core.files.locks import have_locks, lock, open_folder, try_lock
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import cannot_write, make_folder, refuse_links_out, write_atomic
from faceparse.core.images.warp import Size
from faceparse.core.prediction.input_shard import InputShard
from faceparse.core.prediction.made_with import Origin, difference
from faceparse.core.prediction.part_row import PART_SUFFIXES, PackedRow, Part, PartRow, pack_row, part_sizes, unpack_row
from faceparse.core.prediction.photograph_facts import Facts, pack_facts, unpack_facts
from faceparse.core.text.shapes import parse_json_as
from faceparse.core.text.toml_json import parse_json

FOLDER, SETTINGS, SUFFIX = "ledger", "settings.json", ".sqlite"

LARGEST_ROW = 2**30
"""Bytes of the longest description of a photograph that is read."""

_TABLE = """CREATE TABLE IF NOT EXISTS photographs (
    name BLOB PRIMARY KEY, path BLOB, stamp TEXT, time REAL, problem BLOB,
    height INTEGER, width INTEGER, faces INTEGER, notice BLOB, described BLOB)"""
_LATER = {"part": "TEXT", "part_size": "INTEGER", "facts": "BLOB"}
"""Columns that the first ledgers had not, in their order."""
_COLUMNS = (
    "name, path, stamp, time, problem, height, width, faces, notice, described, part, part_size, facts"  # as in _row
)
_OPEN_PART = f"CREATE TABLE IF NOT EXISTS open_part ({_COLUMNS}, texts, labels, photograph, UNIQUE (name))"
_INDEX = "CREATE INDEX IF NOT EXISTS photographs_part ON photographs (part) WHERE part IS NOT NULL"
_PATHS = "CREATE INDEX IF NOT EXISTS photographs_path ON photographs (path) WHERE part IS NOT NULL"
_FULL = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")


@dataclass(frozen=True)
class Entry:
    """A photograph that was tried."""

    path: str
    """Absolute path of its file; empty if it was no file."""
    stamp: str
    """Text that changes with its content: see `Source.stamp`."""
    problem: str = ""
    """Why it could not be parsed, in one line that names it; empty if it is done."""
    size: Size = (0, 0)
    faces: int | None = None
    """Number of its faces; None if it was parsed as a whole."""
    notice: str = ""
    described: dict[str, Any] = field(default_factory=dict)
    """Kind of output -> what its file of all photographs says about this one."""
    facts: Facts | None = None
    """Numbers for the report; None if it is broken, or was parsed before ledgers kept this."""
    part: Part | None = None
    """The part that its outputs are in; None if they are files of their own, or in no part any more."""


class Ledger:
    """Rows of photographs, by the names of their outputs."""

    def __init__(self, path: Path | None = None) -> None:
        """Open the file, which this process has locked; None: a ledger in memory, for a folder that needs none.

        Raises:
            OutputError: it cannot be written, or is damaged.
        """
        self._path = path
        self.elsewhere = set[str]()
        """Names of the parts that the ledgers name from which this one took rows."""
        with self._told():
            self._rows = sqlite3.connect(_address(path) if path else ":memory:", uri=True, isolation_level=None)
            self._rows.execute("PRAGMA trusted_schema = OFF")
            self._rows.execute("PRAGMA locking_mode = EXCLUSIVE")  # also lets WAL do without shared memory
            self._rows.execute("PRAGMA auto_vacuum = INCREMENTAL")  # the open part's space is given back
            self._rows.execute("PRAGMA journal_mode = WAL")
            self._rows.execute("PRAGMA synchronous = NORMAL")
            self._rows.execute(_TABLE)
            has = {column for _, column, *_ in self._rows.execute("PRAGMA table_info(photographs)")}
            for column, kind in _LATER.items():
                if column not in has:
                    self._rows.execute(f"ALTER TABLE photographs ADD COLUMN {column} {kind}")
            self._rows.execute(_INDEX)
            self._rows.execute(_PATHS)
            self._rows.execute(_OPEN_PART)

    def close(self) -> None:
        """Close the file, and give back the space of what was deleted."""
        with suppress(sqlite3.Error):
            self._rows.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page
        self._rows.close()

    def note(self, name: str, entry: Entry) -> None:
        """Write a photograph's row.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self._write("photographs", _row(name, entry))

    def note_open(self, name: str, entry: Entry, row: PartRow) -> None:
        """Write the row of a photograph of the open part, and keep its outputs until `note_part`.

        Raises:
            OutputError: the disk is full, or the like.
        """
        self._write("open_part", (*_row(name, entry), *pack_row(row)))

    def open_rows(self) -> list[PartRow]:
        """Outputs of the photographs of the open part, in the order in which they were noted.

        Raises:
            OutputError: the ledger is damaged.
        """
        with self._told():
            found = self._rows.execute("SELECT name, stamp, texts, labels, photograph FROM open_part ORDER BY rowid")
            return [unpack_row(os.fsdecode(name), stamp, PackedRow(*rest)) for name, stamp, *rest in found]

    def note_part(self, part: Part) -> None:
        """Note that the open part is in place: all of its rows or none. The next one is open, and empty.

        Raises:
            OutputError: the disk is full, or the like.
        """
        columns = _COLUMNS.replace("part, part_size", "?, ?")
        with self._told(), self._transaction():
            self._rows.execute(f"REPLACE INTO photographs ({_COLUMNS}) SELECT {columns} FROM open_part", part)
            self._rows.execute("DELETE FROM open_part")

    def _write(self, table: str, values: tuple[object, ...]) -> None:
        with self._told(), self._transaction():
            self._rows.execute(f"REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})", values)

    def find(self, name: str, *, described: bool = False, facts: bool = False) -> Entry | None:
        """The row of a photograph, if there is one. `described` and `facts` read these, too.

        Raises:
            OutputError: the ledger is damaged.
        """
        columns = f"{'described' if described else 'NULL'}, {'facts' if facts else 'NULL'}"
        with self._told():
            query = (
                f"SELECT path, stamp, problem, height, width, faces, notice, part, part_size, {columns} "
                "FROM photographs WHERE name = ?"
            )
            row = self._rows.execute(query, (os.fsencode(name),)).fetchone()
            return None if row is None else _entry(*row)

    def parts(self) -> set[str]:
        """Names of all parts that rows name.

        Raises:
            OutputError: the ledger is damaged.
        """
        with self._told():
            return {
                str(name) for (name,) in self._rows.execute("SELECT DISTINCT part FROM photographs WHERE part > ''")
            }

    def names_of(self, path: str) -> list[str]:
        """Names under which parts hold the photograph with a path.

        Raises:
            OutputError: the ledger is damaged.
        """
        with self._told():
            query = "SELECT name FROM photographs WHERE path = ? AND part IS NOT NULL"
            return [os.fsdecode(name) for (name,) in self._rows.execute(query, (os.fsencode(path),))]

    def take_out(self, part: str, names: Iterable[str], size: int) -> None:
        """Note that photographs are in a part no more, and the size that it has without them; 0 if it is gone.

        Raises:
            OutputError: the ledger cannot be written.
        """
        now = time.time()  # newer than what other ledgers say of them
        gone = [(now, os.fsencode(name)) for name in names]
        with self._told(), self._transaction():
            self._rows.executemany(
                "UPDATE photographs SET part = NULL, part_size = NULL, time = ? WHERE name = ?", gone
            )
            self._rows.execute("UPDATE photographs SET part_size = ?, time = ? WHERE part = ?", (size, now, part))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process begins in this folder, and keep them waiting until the block ends."""
        with nullcontext() if self._path is None else _alone(self._path.parent):
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Keep all that the block writes, or nothing of it."""
        self._rows.execute("BEGIN")
        try:
            yield
            self._rows.execute("COMMIT")
        except BaseException:
            if self._rows.in_transaction:  # a full disk may have ended it
                self._rows.execute("ROLLBACK")
            raise

    def take(self, path: Path, names: Iterable[str]) -> None:
        """Copy rows of another ledger that this one lacks or has in an older state.

        Raises:
            OutputError: one of both is damaged or cannot be written.
        """
        with self._told(), closing(Ledger(path)) as other:  # as SQLite recovers it where its process was killed
            self.elsewhere |= other.parts()
        with self._told():
            self._rows.execute("ATTACH ? AS other", (_address(path),))
            self._rows.execute("CREATE TEMP TABLE wanted (name BLOB PRIMARY KEY)")
            with self._transaction():
                wanted = ((os.fsencode(name),) for name in names)
                self._rows.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", wanted)
                self._rows.execute(
                    "REPLACE INTO main.photographs SELECT theirs.* FROM wanted JOIN other.photographs AS theirs USING "
                    "(name) LEFT JOIN main.photographs AS ours USING (name) WHERE ours.time IS NULL OR theirs.time > "
                    "ours.time"
                )
            self._rows.execute("DROP TABLE wanted")
            self._rows.execute("DETACH other")

    def open_names(self) -> list[str]:
        """Names of the photographs of the open part.

        Raises:
            OutputError: the ledger is damaged.
        """
        with self._told():
            return [os.fsdecode(name) for (name,) in self._rows.execute("SELECT name FROM open_part")]

    def leave_parsed_elsewhere(self) -> None:
        """Forget photographs of the open part that rows of other ledgers have in a part meanwhile.

        Raises:
            OutputError: the ledger cannot be written.
        """
        with self._told(), self._transaction():
            parsed = "SELECT name FROM photographs WHERE part > ''"
            self._rows.execute(f"DELETE FROM open_part WHERE name IN ({parsed})")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors, and those of content that is not ours, into one kind of error."""
        try:
            yield
        except (sqlite3.Error, zlib.error, ValueError, TypeError) as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith("SQLITE_BUSY"):
                raise OutputError(f"{self._path}: another process is writing it; wait until it has ended") from None
            if name.startswith(_FULL):
                raise OutputError(f"cannot write {self._path}: {error}; free space or choose another place") from None
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> OutputError:
        """Return the error that says that the file's content is not ours."""
        return OutputError(f"{self._path}: damaged ({error}); remove it, and its photographs are parsed anew")


@contextmanager
def open_ledger(
    folder: Path,
    origin: Origin,
    names: Iterable[str],
    *,
    shard: InputShard | None = None,
    resume: bool = False,
    parts: bool = False,
) -> Iterator[Ledger]:
    """Open the ledger of an output folder, or of a shard of it, for this process alone.

    Other settings than the folder's begin a new ledger, unless it is to go on. Rows of other shards count, too: of
    other numbers of shards, and, without `shard`, of all shards.

    Args:
        names: names of the outputs of all photographs of this process.
        parts: whether outputs are in parts, which only shards of one number may write at the same time.

    Raises:
        SettingsError: `resume`, or there are parts, and the folder's outputs were made with other settings.
        OutputError: another process is writing to the folder, the ledger is damaged, or it cannot be written.
    """
    home = folder / FOLDER
    path = home / (f"{shard.index}-of-{shard.count}{SUFFIX}" if shard else f"all{SUFFIX}")
    make_folder(home)
    refuse_links_out(folder, path, home / SETTINGS)
    with ExitStack() as stack:
        with _alone(home):
            if not stack.enter_context(_held(path)):
                raise OutputError(
                    f"{folder}: another process is writing {f'shard {shard}' if shard else 'to it'}; wait for it, or "
                    "choose another --output"
                )
            _agree(folder, origin, path, resume=resume)
            ledger = stack.enter_context(closing(Ledger(path)))
            wanted = [*names, *ledger.open_names()]
            for other in _others(home, path, shard):
                _take(ledger, other, wanted, folder, alone=resume or parts)
            ledger.leave_parsed_elsewhere()
        yield ledger


def _agree(folder: Path, origin: Origin, own: Path, *, resume: bool) -> None:
    """Write the folder's settings. New ones empty the older ledgers; that is refused while the folder has parts."""
    home = folder / FOLDER
    before = _read_settings(home / SETTINGS)
    if before == origin:
        return
    kept = next((kind for kind in PART_SUFFIXES if part_sizes(folder / kind)), "")
    if kept and before is None:
        raise OutputError(
            f"{folder / kept}: holds parts that no ledger names; choose another --output, or remove the folder"
        )
    if (resume or kept) and before is not None:  # parts are not overwritten photograph by photograph
        raise SettingsError(
            f"{folder}: its outputs were made with {difference(before, origin)}; use the same options and model, or "
            "another --output"
        )
    for path in sorted(home.glob(f"*{SUFFIX}")):
        refuse_links_out(folder, path)
        if path != own:
            with _held(path) as free:
                if not free:
                    raise OutputError(
                        f"{folder}: another process is writing to it, with other options; choose another --output"
                    )
        for one in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
            _empty(one)
    write_atomic(home / SETTINGS, _json(dict(origin), indent=2) + b"\n")


def _empty(path: Path) -> None:
    """Empty a file, which somebody may hold a lock on: a new file of its name would not be locked."""
    try:
        if path.exists():
            os.truncate(path, 0)
    except OSError as error:
        raise cannot_write(path, error) from error


def _read_settings(path: Path) -> dict[str, str] | None:
    if not path.exists():
        return None
    try:
        return parse_json_as(dict[str, str], read_bytes(path))
    except ValueError as error:
        raise OutputError(
            f"{path}: damaged ({error}); remove the folder {path.parent}, and all photographs are parsed anew"
        ) from None


def _others(home: Path, own: Path, shard: InputShard | None) -> list[Path]:
    """Ledgers that may have photographs of this one. Shards of one number have none in common."""
    brothers = f"-of-{shard.count}{SUFFIX}" if shard else " "
    return sorted(path for path in home.glob(f"*{SUFFIX}") if path != own and not path.name.endswith(brothers))


def _take(ledger: Ledger, other: Path, names: Iterable[str], folder: Path, *, alone: bool) -> None:
    refuse_links_out(folder, other)
    with _held(other) as free:
        if free:
            ledger.take(other, names)
        elif alone:
            raise OutputError(
                f"{folder}: another process is writing {other.stem.replace('-of-', '/')}; wait until it has ended"
            )


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Yield whether no other process holds the file; if so, it is made and held until the block ends."""
    if not have_locks():  # there, SQLite's own locks have to do
        yield True
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OutputError(f"cannot write {path}: it is no regular file; remove it")
        yield try_lock(handle) is not False
    finally:
        os.close(handle)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process begins in this folder."""
    handle = open_folder(folder)
    try:
        if handle is not None:
            lock(handle)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _address(path: Path) -> str:
    """SQLite's address of a file. Our own lock holds it: SQLite's do not exist on all file systems."""
    return f"{path.absolute().as_uri()}{'?vfs=unix-none' if have_locks() else ''}"


def _json(content: dict[str, Any], **options: Any) -> bytes:
    return json.dumps(content, **options).encode()


def _row(name: str, entry: Entry) -> tuple[object, ...]:
    texts = [os.fsencode(text) for text in (entry.path, entry.problem, entry.notice)]
    described = zlib.compress(_json(entry.described), 1) if entry.described else None
    facts = None if entry.facts is None else pack_facts(entry.facts)
    start = (os.fsencode(name), texts[0], entry.stamp, time.time(), texts[1], *entry.size, entry.faces, texts[2])
    return (*start, described, *(entry.part or (None, None)), facts)


def _entry(
    path: bytes,
    stamp: str,
    problem: bytes,
    height: int,
    width: int,
    faces: int | None,
    notice: bytes,
    part: str | None,
    part_size: int | None,
    described: bytes | None,
    facts: bytes | None,
) -> Entry:
    texts = [os.fsdecode(text) for text in (path, problem, notice)]
    size = (int(height), int(width))
    content = parse_json(zlib.decompressobj().decompress(described, LARGEST_ROW)) if described else {}
    number = None if faces is None else int(faces)
    found = None if facts is None else unpack_facts(facts)
    where = None if part is None else Part(part, int(part_size or 0))
    return Entry(texts[0], stamp, texts[1], size, number, texts[2], content, found, where)
