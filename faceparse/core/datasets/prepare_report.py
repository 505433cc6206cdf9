"""The report of a preparation, added up from the outcomes of its photographs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceparse.core.datasets.coverage import coverage_notes
from faceparse.core.datasets.layout import SPLITS
from faceparse.core.datasets.prepare_record import Outcome, is_listed
from faceparse.core.faces.alignment import Alignment
from faceparse.core.labels.label_set import LabelSet


@dataclass(frozen=True, repr=False)
class PrepareReport:
    """Summary of a preparation, for people."""

    splits: dict[str, int]
    """Number of listed photographs by split."""
    done: int
    """Number of photographs prepared in this run; the others were up to date."""
    label_set: LabelSet
    """Classes of the labels."""
    without_points: tuple[Outcome, ...] = ()
    """Photographs that could not be aligned."""
    left_out: tuple[str, ...] = ()
    """One line for each photograph that was left out, and for whatever else is wrong with the raw dataset."""
    ceiling: dict[str, float] | None = None
    """Class -> F1 of the labels against themselves, warped to the aligned image and back; None without alignment."""
    ceiling_split: str = "test"
    """Split that `ceiling` is measured on."""
    notices: tuple[str, ...] = ()
    """Notes on the raw dataset, its labels and its photographs, one line each."""

    def __repr__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        classes = f"{len(self.label_set)} classes of {self.label_set.name}"
        return f"<PrepareReport: {splits}; {classes}; {self.done} prepared now>"


def report_of(
    outcomes: dict[str, Outcome],
    done: int,
    label_set: LabelSet,
    alignment: Alignment | None,
    notes: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> PrepareReport:
    """Report of a preparation, from its outcomes by id.

    Args:
        done: number of photographs prepared in this run.
        notes: notes on the raw dataset.
        problems: one line for each thing that is wrong with it beside the photographs.
    """
    every = [outcomes[key] for key in sorted(outcomes)]
    counts = {split: sum(o.split == split and is_listed(o) for o in every) for split in SPLITS}
    # Models are scored on test, so the ceiling matters there.
    split = "test" if counts["test"] else "train"
    counted = [o.ceiling for o in every if o.split == split and o.status == "aligned"]
    ceiling = None
    if alignment is not None and counted:
        sums = np.array(counted, np.int64).sum(axis=0)
        ceiling = {
            name: 2 * int(hits) / int(truth + found)
            for name, (hits, truth, found) in zip(label_set.names, sums, strict=True)
            if truth
        }
    return PrepareReport(
        splits={split: count for split, count in counts.items() if count},
        done=done,
        label_set=label_set,
        without_points=tuple(o for o in every if o.status in ("unaligned", "skipped")),
        left_out=(*(o.reason for o in every if o.status == "broken"), *problems),
        ceiling=ceiling,
        ceiling_split=split,
        notices=(*notes, *_notices([o for o in every if o.status != "broken"], label_set)),
    )


def _notices(outcomes: Sequence[Outcome], label_set: LabelSet) -> list[str]:
    notices = [
        f"{count} label{'s' * (count != 1)}: values are no ids but colours, {reading}"
        for reading, count in Counter(one.reading for one in outcomes if one.reading).items()
    ]
    if noticed := [one for one in outcomes if one.notice]:
        more = f"; and so on, {len(noticed)} in all" if len(noticed) > 1 else ""
        notices.append(f"{noticed[0].id}: {noticed[0].notice}{more}")
    if overlapping := [one for one in outcomes if one.overlapping]:
        worst = max(overlapping, key=lambda one: one.overlapping)
        notices.append(
            f"masks overlap in {len(overlapping)} of {len(outcomes)} labels, most in {worst.id} ({worst.overlapping} "
            "pixels): the class that is later in the label set counts there"
        )
    if merged := sum((Counter(one.merged) for one in outcomes), Counter[str]()):
        every = sum(sum(one.pixels) for one in outcomes)
        shares = ", ".join(f"{phrase} {count} ({count / every:.1%})" for phrase, count in merged.items())
        notices.append(f"merged by the mapping, in pixels: {shares}")
    if turned := sum(one.turned for one in outcomes):
        notices.append(
            f"{turned} of {len(outcomes)} photographs are turned upright by their EXIF orientation, and "
            f"{turned - sum(one.stored for one in outcomes)} of their labels seem to fit them so: look at them with "
            "'faceparse check --report'"
        )
    if counted := [one.pixels for one in outcomes if one.pixels]:
        *pixels, ignored = np.array(counted).sum(axis=0).tolist()
        notices += coverage_notes(label_set, pixels, ignored)
    return notices
