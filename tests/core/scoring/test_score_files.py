"""Files that evaluations wrote, and files that only look so."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.scoring import score_files
from faceparse.core.scoring.score_files import read_scores
from tests.core.scoring.score_folders import made, write


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return write(tmp_path / "eval", made())


def change(path: Path, **keys: Any) -> Path:
    """Set keys; drop those of the value `...`."""
    content = json.loads(path.read_text()) | keys
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return path


def test_what_an_evaluation_wrote_is_read_as_it_was(scores: Path) -> None:
    evaluation, said = made(), read_scores(scores)
    (found,) = said.protocols.values()
    summary = evaluation.summaries["eagrnet"]
    assert list(said.protocols) == ["eagrnet"]
    assert found.mean_f1 == summary.scores.mean_f1
    assert found.interval == summary.intervals["mean_f1"]
    assert found.resampled_mean_f1 == summary.resampled["mean_f1"].tolist()
    assert (said.model_file, said.speed, said.licence) == (
        evaluation.model_file, evaluation.speed, evaluation.licence
    )  # fmt: skip
    assert (said.fingerprint, said.classes, said.images) == (evaluation.fingerprint, evaluation.label_set.names, 12)


def test_several_protocols_are_read(tmp_path: Path) -> None:
    one = made()
    summary = one.summaries["eagrnet"]
    said = read_scores(write(tmp_path / "eval", made(summaries={"label": summary, "farl": summary})))
    assert list(said.protocols) == ["label", "farl"]


def test_files_of_earlier_versions_are_read(scores: Path) -> None:
    later = ("resampled_mean_f1", "fingerprint", "licence", "model_file", "speed", "finished", "label_set")
    said = read_scores(change(scores, **dict.fromkeys(later, ...)))
    assert (said.fingerprint, said.model_file, said.speed, said.finished, said.label_set) == (None,) * 5
    assert said.protocols["eagrnet"].interval is not None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"mean_f1": 1.5}, r"^protocols\.eagrnet\.mean_f1: .*less than or equal to 1"),
        ({"mean_f1": "0.5"}, r"^protocols\.eagrnet\.mean_f1: .*valid number"),
        ({"mean_f1": float("nan")}, r"^protocols\.eagrnet\.mean_f1: "),
        ({"mean_f1": ...}, r"'protocols\.eagrnet\.mean_f1' is missing"),
        ({"protocol": ...}, "'protocols' is missing"),
        ({"protocol": 3}, "valid string"),
        ({"protocols": {}}, "^protocols: "),
        ({"images": 0}, "^images: "),
        ({"images": True}, "^images: "),
        ({"input_size": [64]}, r"^'input_size\.1' is missing"),
        ({"classes": ["a" * 5000, "b"]}, r"^classes\.0: "),
        ({"fingerprint": "<script>"}, "^fingerprint: "),
        ({"model_file": {"bytes": -1, "sha256": "0" * 64}}, r"^model_file\.bytes: "),
        ({"speed": {"seconds_per_image": 0, "device": "x", "threads": 1}}, r"^speed\.seconds_per_image: "),
        ({"finished": "yesterday"}, "^finished: "),
        ({"finished": "2026-01-01T00:00:00"}, "^finished: .*timezone"),
        ({"intervals": {"mean_f1": [0.9, 0.1]}}, r"intervals\.mean_f1: its low is above its high$"),
        ({"resampled_mean_f1": [0.1, 0.2]}, r"resampled_mean_f1: intervals\.mean_f1 is not theirs$"),
        ({"intervals": {}}, r"resampled_mean_f1: intervals\.mean_f1 is not theirs$"),
    ],
)
def test_wrong_content_is_named(keys: dict[str, Any], expected: str, scores: Path) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        read_scores(change(scores, **keys))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b'{"checkpoint": "\\ud800"}'],
)
def test_what_is_no_such_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(content)
    with pytest.raises(ValueError, match=".") as caught:
        read_scores(tmp_path / "scores.json")
    assert "\n" not in str(caught.value)


def test_a_file_of_any_length_is_not_read_whole(scores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_files, "LARGEST", 2**20)
    scores.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ValueError, match="^larger than 1 MiB$"):
        read_scores(scores)


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(DatasetError, match="no regular file"):
            read_scores(tmp_path / name)
