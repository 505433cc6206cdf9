"""Which evaluations share a table, in which order, and what is said of their differences."""

import dataclasses
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.comparison import compare
from faceparse.core.scoring.leaderboard import Leaderboard, read_leaderboard
from faceparse.core.scoring.model_facts import ModelFile
from tests.core.scoring.score_folders import LABELS, made, write

OTHER = "f" * 16
PEOPLE = [0, 0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 4]
"""Number of the person on each of the twelve images."""
RENAMED = LabelSet(name="y", side="none", classes=dict(zip("abc", LABELS.classes.values(), strict=True)), merged={})


def checkpoints(board: Leaderboard) -> list[list[str]]:
    return [[entry.found.said.checkpoint for entry in table.entries] for table in board.tables]


def drop(path: Path, *keys: str) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in keys}))


def test_the_best_is_first_and_equals_share_a_rank(tmp_path: Path) -> None:
    for seed, errors in enumerate((0.4, 0.1, 0.3)):
        write(tmp_path / "deep" / str(seed) / "eval", made(seed, errors=errors))
    same = made(1, errors=0.1, model_file=ModelFile(bytes=1, sha256="e" * 64), checkpoint="another.onnx")
    write(tmp_path / "another", same)
    board = read_leaderboard(tmp_path)
    (table,) = board.tables
    assert [entry.rank for entry in table.entries] == [1, 1, 3, 4]
    assert [entry.name for entry in table.entries] == ["another.onnx", "1/best.pth", "2/best.pth", "0/best.pth"]
    assert board.left_out == []


def test_differences_are_those_of_a_comparison(tmp_path: Path) -> None:
    evaluations = [made(0, errors=0.1), made(1, errors=0.12), made(2, errors=0.4)]
    for number, one in enumerate(evaluations):
        write(tmp_path / str(number), one)
    ((_, *others),) = (table.entries for table in read_leaderboard(tmp_path).tables)
    expected = compare(evaluations).differences["eagrnet"]
    assert [entry.gap for entry in others] == [one["mean_f1"] for one in expected]
    assert others[1].gap is not None
    assert others[1].gap.significant


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": OTHER},
        {"split": "val"},
        {"protocol": "label"},
        {"label_set": RENAMED},
        {"truth": {"background": ["background"]}},
        {"fingerprint": None},
    ],
)
def test_what_is_not_comparable_has_a_table_of_its_own(changed: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "a", made(1))
    write(tmp_path / "b", made(2))
    write(tmp_path / "other", made(3, **changed))
    found = sorted(checkpoints(read_leaderboard(tmp_path)), key=len)
    assert [sorted(names) for names in found] == [["runs/3/best.pth"], ["runs/1/best.pth", "runs/2/best.pth"]]


def test_a_mapped_model_stands_beside_one_with_the_classes_of_the_truth(tmp_path: Path) -> None:
    write(tmp_path / "a", made(1))
    write(tmp_path / "b", made(2, notes=["y as x: brows in hair"]))
    (table,) = read_leaderboard(tmp_path).tables
    assert len(table.entries) == 2
    assert table.notes == ["y as x: brows in hair"]
    assert all(drop(tmp_path / name / "scores.json", "fingerprint") is None for name in "ab")
    assert len(read_leaderboard(tmp_path).tables) == 2  # without it, nothing says that the truth is the same


def test_crops_and_views_of_one_file_are_rows_of_one_table(tmp_path: Path) -> None:
    for name, changed in {"plain": {}, "flip": {"tta": "tta-flip"}, "crop": {"input_size": (96, 80)}}.items():
        write(tmp_path / name, made(1, **changed))
    (table,) = read_leaderboard(tmp_path).tables
    assert (len(table.entries), table.older) == (3, [])


def test_the_same_data_elsewhere_is_the_same_data(tmp_path: Path) -> None:
    write(tmp_path / "a", made(1))
    write(tmp_path / "b", made(2, dataset=Path("/another/machine/Copy")))
    (table,) = read_leaderboard(tmp_path).tables
    assert sorted(table.datasets) == ["Copy", "Faces"]


@pytest.mark.parametrize("newest", ["a", "b"])
def test_of_two_evaluations_of_one_file_the_newest_is_shown(newest: str, tmp_path: Path) -> None:
    older = ({"a", "b"} - {newest}).pop()
    for name, day in ((newest, 2), (older, 1)):
        write(tmp_path / name, made(1, checkpoint=f"{name}.pth", finished=datetime(2026, 1, day, tzinfo=UTC)))
    (table,) = read_leaderboard(tmp_path).tables
    assert [entry.found.said.checkpoint for entry in table.entries] == [f"{newest}.pth"]
    assert table.older == [tmp_path / older / "scores.json"]


def test_files_that_do_not_say_of_which_weights_they_are_are_all_shown(tmp_path: Path) -> None:
    """Two machines' `best.pth` may be two models."""
    for name in "ab":
        drop(write(tmp_path / name, made(1, checkpoint="best.pth")), "model_file", "finished")
    os.utime(tmp_path / "a" / "scores.json", (0, 0))
    (table,) = read_leaderboard(tmp_path).tables
    assert table.entries[0].found.finished.year == 1970
    assert len(table.entries) == 2


def test_without_the_same_resamples_only_the_intervals_speak(tmp_path: Path) -> None:
    write(tmp_path / "best", made(0, errors=0.1))
    write(tmp_path / "near", made(1, errors=0.11, resamples=60))
    drop(write(tmp_path / "far", made(2, errors=0.8)), "resampled_mean_f1")
    write(tmp_path / "unsure", made(3, errors=0.9, resamples=0))
    ((_, *others),) = (table.entries for table in read_leaderboard(tmp_path).tables)
    assert [entry.found.path.parent.name for entry in others] == ["near", "far", "unsure"]
    assert [entry.overlaps for entry in others] == [True, False, None]
    for entry in others:
        assert entry.gap is not None
        assert (entry.gap.interval, entry.gap.p_value) == (None, None)


def test_resamples_of_other_groups_are_not_paired(tmp_path: Path) -> None:
    """As many groups of the same photographs, but others: the resamples drew other images."""
    for seed, numbers in enumerate((PEOPLE, PEOPLE, PEOPLE[::-1])):
        evaluation = made(seed, errors=0.1 + 0.1 * seed)
        summaries = {
            name: dataclasses.replace(one, together=np.array(numbers)) for name, one in evaluation.summaries.items()
        }
        write(tmp_path / str(seed), dataclasses.replace(evaluation, summaries=summaries))
    ((_, same, other),) = (table.entries for table in read_leaderboard(tmp_path).tables)
    assert same.gap is not None
    assert same.gap.p_value is not None
    assert other.gap is not None
    assert other.gap.p_value is None


def test_data_without_a_fingerprint_is_never_paired(tmp_path: Path) -> None:
    """Its photographs may have changed in between."""
    for seed in range(2):
        drop(write(tmp_path / str(seed), made(seed)), "fingerprint")
    write(tmp_path / "elsewhere", made(3, fingerprint=None, dataset=Path("data/Others")))
    first, second = read_leaderboard(tmp_path).tables
    gap = first.entries[1].gap
    assert gap is not None
    assert gap.p_value is None
    assert second.datasets == ["Others"]


def test_what_is_no_evaluation_is_left_out_by_name(tmp_path: Path) -> None:
    write(tmp_path / "good", made(1))
    write(tmp_path / ".faceparse-0123.tmp", made(2))  # half written
    for name in ("damaged", "foreign"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.json").write_text("{" if name == "damaged" else '{"mean_f1": 0.9}')
    (tmp_path / "loop").symlink_to(tmp_path)
    board = read_leaderboard(tmp_path)
    assert checkpoints(board) == [["runs/1/best.pth"]]
    assert [line.split(":")[0] for line in board.left_out] == [
        str(tmp_path / name / "scores.json") for name in ("damaged", "foreign")
    ]
    assert "not the scores of an evaluation ('protocols' is missing)" in board.left_out[1]


def test_folders_without_evaluations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere: no such folder; name one with evaluations in it"):
        read_leaderboard(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match=r": no evaluation in it; 'faceparse eval' makes one$"):
        read_leaderboard(tmp_path)
    (tmp_path / "scores.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"no evaluation in it; the first of 1 files left out is .*scores\.json: "):
        read_leaderboard(tmp_path)


def test_two_ways_to_write_a_path_are_two_names(tmp_path: Path) -> None:
    for seed, name in enumerate(("a/best.pth", "a//best.pth")):
        write(tmp_path / str(seed), made(seed, checkpoint=name))
    (table,) = read_leaderboard(tmp_path).tables
    assert sorted(entry.name for entry in table.entries) == ["a//best.pth", "a/best.pth"]


def test_registered_models_keep_their_names(tmp_path: Path) -> None:
    for seed, name in enumerate(("models:/face/3", "b/best.pth", "c/best.pth", "/d/last.pth")):
        write(tmp_path / str(seed), made(seed, checkpoint=name))
    (table,) = read_leaderboard(tmp_path).tables
    names = {entry.found.said.checkpoint: entry.name for entry in table.entries}
    assert list(names.values()) == [
        {"models:/face/3": "models:/face/3", "/d/last.pth": "last.pth"}.get(one, one) for one in names
    ]
