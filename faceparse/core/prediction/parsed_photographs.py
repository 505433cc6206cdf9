"""Parses photographs. Threads read and crop, the caller's thread runs the network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from faceparse.core.errors import FaceparseError
from faceparse.core.faces.crops import crop_picture, paste, settle
from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.machine.parallel import default_processes, map_threads
from faceparse.core.parser.inference import Parser, PendingArray, copy_to_host
from faceparse.core.prediction.batches import batch_logits
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.photograph_facts import facts_of
from faceparse.core.prediction.photograph_states import Broken, Decoded, Parsed, Photograph
from faceparse.core.prediction.photographs import read_photograph
from faceparse.core.prediction.saving import OF_ANSWERS, Outputs


@dataclass(frozen=True)
class PhotographParser:
    """A parser with all that turns photographs into its answers."""

    parser: Parser
    finder: Finder | None = None
    """None: photographs are parsed as a whole."""
    geometry: FaceGeometry | None = None
    batch_size: int = 4

    def crop(self, read: Decoded | Broken) -> Photograph | Broken:
        """Find the faces of a photograph and crop them for the network."""
        if isinstance(read, Broken):
            return read
        source, picture = read.source, read.picture
        try:
            faces = self.finder(source.where, picture.image) if self.finder else None
        except FaceparseError as error:
            return Broken(source, str(error), read.stamp)
        crops = crop_picture(picture.image, faces, self.parser.input_size, self.geometry, self.parser.fit)
        return Photograph(source, picture, read.stamp, read.data, faces, crops)

    def answers(
        self, photographs: Iterable[Photograph | Broken]
    ) -> Iterator[tuple[Photograph | Broken, list[PendingArray]]]:
        """Yield each photograph with the network's answers to its crops, in order."""
        for photograph, logits in batch_logits(self.parser, photographs, self.batch_size):
            yield photograph, [copy_to_host(one) for one in logits]


def parsed_photographs(
    parser: PhotographParser, sources: Sequence[Source]
) -> Iterator[tuple[Photograph | Broken, list[PendingArray]]]:
    """Yield each photograph with the answers to its crops, in order. Two batches are read ahead."""

    def read(source: Source) -> Photograph | Broken:
        return parser.crop(read_photograph(source))

    yield from parser.answers(map_threads(read, sources, file_threads(), ahead=2 * parser.batch_size))


def file_threads() -> int:
    """Number of threads that read, and of those that write."""
    return min(default_processes(), 8)


def paste_back(photo: Photograph | Broken, pending: Iterable[PendingArray], outputs: Outputs) -> Parsed | Broken:
    """Paste the network's answers to a photograph's crops back into it."""
    if isinstance(photo, Broken):
        return photo
    answers = [one() for one in pending]
    settled = settle(answers, photo.crops)
    labels = paste(settled, photo.crops, photo.picture.size, clear=photo.picture.clear)
    facts = facts_of(labels.label, len(outputs.label_set), photo.faces, answers, photo.crops)
    return Parsed(photo, labels, facts, None if OF_ANSWERS.isdisjoint(outputs.kinds) else settled)
