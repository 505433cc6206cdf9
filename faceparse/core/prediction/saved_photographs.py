"""Parses photographs in this process, saves what was asked for of each, and notes it. Threads read and write."""

from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from faceparse.core.machine.parallel import Track, map_threads, untracked
from faceparse.core.parser.inference import PendingArray
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.output_parts import PartWriter
from faceparse.core.prediction.parsed_photographs import PhotographParser, file_threads, parsed_photographs, paste_back
from faceparse.core.prediction.photograph_states import Broken, Photograph, Saved
from faceparse.core.prediction.photographs import save_photograph
from faceparse.core.prediction.prediction_ledger import Ledger
from faceparse.core.prediction.saving import Outputs


class PhotographsReport(NamedTuple):
    """Result of parsing photographs."""

    done: int
    """Number of photographs that were parsed."""
    faceless: list[str]
    """Photographs that were parsed, but without a face."""
    broken: list[str]
    """One line for each photograph that could not be read."""
    notices: list[str]
    """One line for each photograph that was parsed, but whose file has a peculiarity that users should know."""


def saved_photographs(parser: PhotographParser, sources: Sequence[Source], outputs: Outputs) -> Generator[Saved]:
    """Read, parse and save photographs in this process. Yield each in order, when its files are in place.

    About five batches are in memory at a time. What is one file of all photographs is not written.

    Raises:
        OutputError: something cannot be written.
    """

    def finish(answered: tuple[Photograph | Broken, list[PendingArray]]) -> Saved:
        return save_photograph(paste_back(*answered, outputs), outputs)

    yield from map_threads(finish, parsed_photographs(parser, sources), file_threads(), ahead=2 * parser.batch_size)


def note_photographs(
    saved: Iterable[Saved], sources: Sequence[Source], outputs: Outputs, ledger: Ledger, track: Track = untracked
) -> PhotographsReport:
    """Note photographs in the ledger as they come, in any order, and write the parts.

    The rows of one part are in memory. The report lists photographs in the order of `sources`.

    Raises:
        OutputError: a part or the ledger cannot be written.
    """
    done, faceless, broken, notices = 0, set[str](), dict[str, str](), dict[str, str]()
    with PartWriter(outputs, ledger) as writer:
        for one in track(saved, len(sources), "predict"):
            name, entry = one.source.name, one.entry
            writer.note(name, entry, one.row)
            if entry.problem:
                broken[name] = entry.problem
                continue
            done += 1
            if entry.faces == 0:
                faceless.add(name)
            if entry.notice:
                notices[name] = f"{one.source.where}: {entry.notice}"
    return PhotographsReport(
        done,
        [source.where for source in sources if source.name in faceless],
        [broken[source.name] for source in sources if source.name in broken],
        [notices[source.name] for source in sources if source.name in notices],
    )
