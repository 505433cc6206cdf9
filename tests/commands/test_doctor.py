from typing import Any

import pytest


def test_every_finding_is_a_line(cli: Any, store: str) -> None:
    done = cli("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line[:4].strip() in ("ok", "note") for line in lines] == [True] * 5
    subjects = [line[5:].split(": ")[0] for line in lines]
    assert subjects == ["packages", "GPU", "inplace-abn", "mlflow store", "run folder"]
    assert any(line.startswith(f"ok   mlflow store: {store}") for line in lines)


def test_what_does_not_work_is_marked_and_told_by_the_exit_code(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRAIN__RUNS_DIR", "/proc/none")
    done = cli("doctor")
    assert (done.code, done.err) == (1, "")
    (line,) = [line for line in done.out.splitlines() if line.startswith("bad  ")]
    assert line.startswith("bad  run folder: cannot write /proc: ")
