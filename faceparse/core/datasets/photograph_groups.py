"""Groups of photographs that stay in one split, such as all of one person."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faceparse.core.datasets.folder_labels import Photograph
from faceparse.core.datasets.own_splits import column_of
from faceparse.core.datasets.photograph_names import Named, PhotographNames
from faceparse.core.errors import SettingsError
from faceparse.core.text.path_pattern import Pattern
from faceparse.core.text.patterns import some_names


def is_pattern(by: str | None) -> bool:
    """Whether `--group` is a pattern of names, and no file."""
    return by is not None and "{group}" in by


def groups_of(
    photographs: Sequence[Photograph], by: str, names: PhotographNames
) -> tuple[dict[str, str], list[str], list[str]]:
    """Photograph's id -> group, where it has one; one line for each line of a table that is wrong; notes for the user.

    Args:
        by: a pattern of the ids with `{group}` in it, such as `{group}_*`; or a CSV with the columns `id` and `group`.

    Raises:
        SettingsError: `by` is neither, or fits no photograph.
        DatasetError: the CSV cannot be read.
    """
    if is_pattern(by):
        found, problems = _by_pattern(photographs, by), list[str]()
    elif by.lower().endswith((".csv", ".tsv", ".txt")):
        rows = [Named(f"{by}:{row.line}", row.cells[0], group) for row, group in column_of(Path(by), "group")]
        found, problems = names.values(row for row in rows if row.value)
    else:
        raise SettingsError(
            f"--group {by!r}: give a pattern of the names with {{group}} in it, such as '{{group}}_*' or "
            "'{group}/*', or a CSV with the columns id and group"
        )
    alone = [one.id for one in photographs if one.id not in found]
    if len(alone) == len(photographs):
        raise SettingsError(f"--group {by!r}: fits no photograph, such as {alone[0]!r}; fix the pattern or the file")
    sizes = Counter(found.values()).values()
    notes = [f"{len(sizes)} groups, of which the largest has {max(sizes)} photographs; each is in one split"]
    if alone:
        notes.append(f"{len(alone)} photographs fit no group, and count as one each: {some_names(alone)}")
    return found, problems, notes


def _by_pattern(photographs: Sequence[Photograph], text: str) -> dict[str, str]:
    pattern = Pattern(text)
    if pattern.fields != {"group"}:
        raise SettingsError(f"--group {text!r}: the only field is {{group}}; write * for what differs")
    matches = ((one.id, pattern.match(one.id)) for one in photographs)
    return {key: match.fields["group"] for key, match in matches if match}
