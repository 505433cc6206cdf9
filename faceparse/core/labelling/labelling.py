"""A folder's labelling: guesses in the background, the most uncertain first, and labels as they are saved."""

import hashlib
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from faceparse.core.api import FaceParser
from faceparse.core.errors import DatasetError, FaceparseError, OutputError, ResourceError, first_line
from faceparse.core.files.folder_lock import only_process
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import make_folder, refuse_links_out, write_atomic
from faceparse.core.images.opening import read_size
from faceparse.core.images.read_photograph import Picture, decode_picture
from faceparse.core.images.warp import Size
from faceparse.core.labelling.fitting_label import encode_label, must_fit, read_fitting_label
from faceparse.core.labelling.label_folder import GUESSES, LABELS, Photograph, find_photographs
from faceparse.core.labelling.record import RECORD, Row, read_record, write_record

MAX_PIXELS = 40_000_000
"""Largest number of pixels of a photograph. A browser holds its picture, its guess and its label."""


class ChangedError(FaceparseError):
    """A label was made from a photograph, classes or an older label that are no longer there."""

    def __init__(self, message: str, base: str | None = None) -> None:
        super().__init__(message)
        self.base = base
        """Hash of the label on the disk, where only this differs; a save that names it replaces that label."""


class Opened(NamedTuple):
    """A photograph that a person looks at."""

    guess: np.ndarray
    """The model's class ids, H x W uint8."""
    label: np.ndarray | None
    """The saved class ids, H x W uint8; None where there are none."""
    version: str
    """Hash of the photograph and the classes, which `save` compares."""
    base: str
    """Hash of the label's file, which `save` compares; empty where there is none."""
    notice: str
    """Note on the photograph's file; mostly empty."""


class Saved(NamedTuple):
    """A label that was saved."""

    base: str
    """Hash of the label's file."""
    row: Row
    """Its row in the record."""
    notice: str
    """Why the record could not be written, as one line; mostly empty."""


@dataclass
class State:
    """All that is known of a photograph."""

    labelled: bool
    """Whether it has a label."""
    uncertainty: float | None = None
    """Uncertainty of the guess (see `Result.uncertainty`); None where there is no guess yet."""
    problem: str = ""
    """Why it cannot be labelled, as one line."""


class Labelling:
    """The photographs of a folder, with the model's guesses and a person's labels.

    Labels are written to `labels/`, guesses to `guesses/`, and the record to `labels.csv`, all in that folder.
    Inside a `with`, the folder is held, and guesses are made in the background. Any thread may call the methods.

        with Labelling(Path("photos"), faceparse.load()) as labelling:
            labelling.open(labelling.photographs[0].key)
    """

    def __init__(self, folder: Path, parser: FaceParser, *, recursive: bool = False) -> None:
        """Find the photographs, with `recursive` also those in its folders, and what was labelled before.

        Raises:
            DatasetError: there is no such folder, no photograph in it, or its record is damaged.
        """
        self.folder, self._parser = folder, parser
        self.photographs, self._notes = find_photographs(folder, recursive=recursive)
        self._by_key = {photograph.key: photograph for photograph in self.photographs}
        self._record = read_record(folder / RECORD)
        self.states = {one.key: State(one.label.exists()) for one in self.photographs}
        self._halted = ""
        self._saving = threading.Lock()
        self._worker = ThreadPoolExecutor(1)  # one photograph at a time; one that is opened comes next
        self._todo = list(reversed(self.photographs))
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Hold the folder, and begin with the guesses.

        Raises:
            OutputError: the folder cannot be written, or another process holds it.
        """
        refuse_links_out(self.folder, self.folder / LABELS, self.folder / GUESSES, self.folder / RECORD)
        with ExitStack() as held:
            held.enter_context(only_process(self.folder / LABELS))
            make_folder(self.folder / GUESSES)
            self._held = held.pop_all()
        self._later(self._work)
        return self

    def __exit__(self, *_error: object) -> None:
        """Finish the guess in work, and let the folder go."""
        self._todo.clear()
        self._worker.shutdown(cancel_futures=True)
        with suppress(OSError):  # it holds guesses
            (self.folder / GUESSES).rmdir()
        self._held.close()

    @property
    def notes(self) -> list[str]:
        """One line for each thing that a person should know of the folder."""
        return [*self._notes, *([self._halted] if self._halted else [])]

    def row(self, photograph: Photograph) -> Row | None:
        """Row of a photograph in the record; None where it is not labelled, or not counted yet."""
        return self._record.get(photograph.name) if self.states[photograph.key].labelled else None

    def photograph(self, key: str) -> Photograph:
        """Return the photograph of a key.

        Raises:
            KeyError: there is none.
        """
        return self._by_key[key]

    def picture(self, photograph: Photograph) -> tuple[bytes, Picture]:
        """Read a photograph: its file's content, and what it shows.

        Raises:
            DatasetError, ResourceError: it cannot be read, or is too large.
        """
        data = self._read(photograph)
        return data, decode_picture(data, photograph.name)

    def open(self, photograph: Photograph) -> Opened:
        """Return all that a person needs to label a photograph; the guess is made if there is none yet.

        Raises:
            FaceparseError: the photograph, its guess or its label cannot be read, or the guess cannot be written.
        """
        state = self.states[photograph.key]
        try:
            self._worker.submit(self._guess, photograph).result()
            data, picture = self.picture(photograph)
            label_set = self._parser.label_set
            guess = read_fitting_label(photograph.guess, picture.size, label_set)
            base, label = self._base(photograph), None
            if base:
                label = read_fitting_label(photograph.label, picture.size, label_set)
        except FaceparseError as error:
            state.problem = str(error)
            raise
        state.labelled, state.problem = bool(base), ""
        return Opened(guess, label, self._version(data), base, picture.notice)

    def save(self, photograph: Photograph, packed: bytes, *, version: str, base: str, seconds: int = 0) -> Saved:
        """Write a person's label, whole or not at all.

        Args:
            packed: H x W uint8 class ids, deflated.
            version: of the `Opened` that they were made from.
            base: hash of the label's file that this one replaces; empty where there is none.
            seconds: that the person worked on it since it was opened or saved.

        Raises:
            ChangedError: the photograph, the classes or the label changed since it was opened.
            DatasetError: the ids do not fit the photograph or the classes.
            OutputError: it cannot be written. The label's file is as it was.
        """
        label_set = self._parser.label_set
        with self._saving:
            data, picture = self.picture(photograph)
            if version != self._version(data):
                raise ChangedError(f"{photograph.name}: the photograph or the classes have changed; open it again")
            label = _unpack(packed, picture.size, photograph.name)
            must_fit(label, photograph.name, picture.size, label_set)
            content = encode_label(label, label_set)
            digest = hashlib.sha256(content).hexdigest()
            before = self._base(photograph)
            if before not in (base, digest):  # the answer to an earlier save may have been lost
                raise ChangedError(
                    f"{photograph.label}: was changed elsewhere since it was opened; save again to replace it", before
                )
            if not photograph.guess.exists():
                self._worker.submit(self._guess, photograph).result()
            guess = read_fitting_label(photograph.guess, picture.size, label_set)
            refuse_links_out(self.folder, photograph.label, self.folder / RECORD)
            write_atomic(photograph.label, content)
            self.states[photograph.key].labelled = True
            spent = seconds + (old.seconds if (old := self._record.get(photograph.name)) else 0)
            row = Row(label.size, int((label != guess).sum()), spent, digest)
            self._record[photograph.name] = row
            try:
                write_record(self.folder / RECORD, self._record)
            except OutputError as error:  # the label is saved; the next start counts it again
                return Saved(digest, row, str(error))
            return Saved(digest, row, "")

    def _later(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # it was shut down
            self._worker.submit(work)

    def _work(self) -> None:
        """Make the next guess, or count the next label. Then ask for a turn again, behind what was opened meanwhile."""
        if not self._todo:
            return
        photograph = self._todo.pop()
        state = self.states[photograph.key]
        try:
            self._guess(photograph)
            if state.labelled:
                self._count(photograph)
        except OutputError as error:  # a full disk is no fault of this photograph
            self._halted = str(error)
            return
        except FaceparseError as error:
            state.problem = str(error)
        self._later(self._work)

    def _guess(self, photograph: Photograph) -> None:
        """Make and write the guess, once. A labelled photograph keeps the one that its label was made from."""
        state = self.states[photograph.key]
        if state.uncertainty is not None or (photograph.label.exists() and photograph.guess.exists()):
            return
        _, picture = self.picture(photograph)
        try:
            result = self._parser.predict(picture)
        except FaceparseError:
            raise
        except Exception as error:  # a model or its device may raise any error; the others can still be labelled
            raise ResourceError(f"{photograph.name}: the model failed: {first_line(error)}; try again") from error
        refuse_links_out(self.folder, photograph.guess)
        write_atomic(photograph.guess, encode_label(result.labels, self._parser.label_set))
        state.uncertainty = result.uncertainty

    def _count(self, photograph: Photograph) -> None:
        """Count the corrected pixels of a label that the record lacks, or that was changed elsewhere."""
        row, digest = self._record.get(photograph.name), self._base(photograph)
        if row is not None and row.sha256 == digest:
            return
        size = self.picture(photograph)[1].size
        label, guess = (
            read_fitting_label(path, size, self._parser.label_set) for path in (photograph.label, photograph.guess)
        )
        with self._saving:
            if self._record.get(photograph.name) == row:
                seconds = row.seconds if row is not None else 0
                self._record[photograph.name] = Row(label.size, int((label != guess).sum()), seconds, digest)

    def _read(self, photograph: Photograph) -> bytes:
        data = read_bytes(photograph.path)
        height, width = read_size(photograph.path)
        if height * width > MAX_PIXELS:
            raise DatasetError(
                f"{photograph.name}: {height * width / 10**6:.0f} megapixels, and a browser labels at most "
                f"{MAX_PIXELS // 10**6}; make it smaller"
            )
        return data

    def _version(self, data: bytes) -> str:
        return hashlib.sha256(self._parser.label_set.model_dump_json().encode() + data).hexdigest()

    def _base(self, photograph: Photograph) -> str:
        return hashlib.sha256(read_bytes(photograph.label)).hexdigest() if photograph.label.exists() else ""


def _unpack(packed: bytes, size: Size, where: str) -> np.ndarray:
    """H x W uint8 ids from their deflated bytes. At most one byte too many is unpacked, whatever they promise."""
    height, width = size
    unpacking = zlib.decompressobj()
    try:
        ids = unpacking.decompress(packed, height * width + 1)
    except zlib.error as error:
        raise DatasetError(f"{where}: the label did not arrive whole ({error}); save it again") from None
    if len(ids) != height * width or not unpacking.eof:
        raise DatasetError(f"{where}: the label is not {width} x {height} pixels; open it again")
    return np.frombuffer(ids, np.uint8).reshape(height, width)
