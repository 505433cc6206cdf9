"""Notes on classes and pixels from which a network cannot learn."""

from collections.abc import Sequence

from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet

MUCH_IGNORED = 0.3
"""Share of ignored pixels above which a note is written."""


def coverage_notes(label_set: LabelSet, pixels: Sequence[int], ignored: int) -> list[str]:
    """Notes on the labels: one line for classes that no label has, one line for many ignored pixels.

    Args:
        pixels: number of pixels of each class, in all labels together.
        ignored: number of ignored pixels.
    """
    notes = []
    if absent := [name for name, count in zip(label_set.names, pixels, strict=True) if not count]:
        notes.append(
            f"in no label: {', '.join(absent)}; nothing can be learnt of it; see whether ids and label set fit"
        )
    share = ignored / max(1, ignored + sum(pixels))
    if share > MUCH_IGNORED:
        notes.append(
            f"{share:.0%} of the labels' pixels are {IGNORE}, which loss and scores ignore; where it means a class, "
            "give it the class's id"
        )
    return notes
