import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from faceparse.commands import console, runs
from faceparse.core.runs.mlflow_run import LoggedRun, Point
from faceparse.core.runs.rank_runs import Ranked, RunComparison
from faceparse.core.training.run import RunResult

STARTED = 1_790_000_000.0


def logged(name: str, score: float | None = None, **changes: Any) -> LoggedRun:
    fields: dict[str, Any] = {
        "uri": "sqlite:////x.db",
        "id": hashlib.md5(name.encode()).hexdigest(),
        "name": name,
        "experiment": "fasseg",
        "status": "FINISHED",
        "started": STARTED,
        "ended": STARTED + 4000,
        "parent": None,
        "params": {"train.epochs": "200"},
        "tags": {"best_metric": "val/f1_merged/overall"},
        "newest": {"train/loss": Point(1.0, 120)},
    }
    return LoggedRun(**fields | changes)


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Ranked]]:
    sweep = logged("sweep-20261127-1", params={"sweep.sampler": "tpe"}, newest={})
    trials = [Ranked(logged(f"trial-{number:03d}", parent=sweep.id), 0.9 - number / 10) for number in (1, 2, 3)]
    running = logged("20261127-234741-ab12", status="RUNNING", ended=None)
    found = {"fasseg": [Ranked(sweep, 0.8, trials), Ranked(running, None)]}
    monkeypatch.setattr("faceparse.core.runs.rank_runs.rank_runs", lambda uri, **_: found)
    return found


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], io.StringIO]:
    """stdout as a terminal of that width."""

    def make(width: int) -> io.StringIO:
        written = io.StringIO()
        screen = Console(file=written, force_terminal=True, width=width, color_system=None, soft_wrap=True)
        monkeypatch.setattr(console, "out", screen)
        return written

    return make


def plain(written: io.StringIO) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue()).splitlines()


def test_runs_are_a_table_with_trials_below_their_sweep(cli: Any, ranked: dict[str, list[Ranked]]) -> None:
    done = cli("runs")
    assert (done.code, done.err) == (0, "")
    title, heading, _, *rows = [line.rstrip() for line in done.out.splitlines()]
    assert title == "fasseg, by val/f1_merged/overall"
    assert heading.split() == ["run", "id", "status", "epochs", "score", "started", "took"]
    assert [row.split("  ")[0] for row in rows[:1]] == ["sweep-20261127-1"]
    assert [row[:11] for row in rows[1:4]] == ["  trial-001", "  trial-002", "  trial-003"]
    assert "3 trials  0.8000" in rows[0]
    assert re.search(r"finished +120/200  0\.8000  2026-09-2\d \d\d:\d\d +1 h 07 min$", rows[1])
    assert re.search(r"ab12 +\w{8}  running +120/200 +-  .* so far$", rows[4])


def test_few_are_shown_where_few_are_asked_for(cli: Any, ranked: dict[str, list[Ranked]]) -> None:
    lines = [line.strip() for line in cli("runs", "--limit", 1).out.splitlines()]
    assert [line for line in lines if "more" in line] == ["and 2 more trials", "and 1 more runs (--limit 0 shows all)"]
    assert not [line for line in lines if "ab12" in line]
    assert not [line for line in cli("runs", "--limit", 0).out.splitlines() if " more" in line]


@pytest.mark.parametrize(
    ("width", "missing"),
    [(100, []), (64, ["started", "epochs"]), (44, ["started", "epochs", "took", "status"]), (20, [])],
)
def test_a_narrow_terminal_has_what_matters(
    cli: Any, ranked: dict[str, list[Ranked]], terminal: Callable[[int], io.StringIO], width: int, missing: list[str]
) -> None:
    written = terminal(width)
    cli("runs")
    _, *lines = plain(written)
    assert max(map(len, lines)) <= width
    text = "".join(lines)
    assert not [name for name in missing if name in text]
    if width > 20:
        assert all(part in text for part in ("0.8000", "trial-003", "20261127-234741-ab12", "sweep-20261127-1"))


def test_programs_get_json(cli: Any, ranked: dict[str, list[Ranked]]) -> None:
    found = json.loads(cli("runs", "--json").out)
    assert [one["name"] for one in found][:2] == ["sweep-20261127-1", "trial-001"]
    sweep, trial, *_, running = found
    assert trial["parent"] == sweep["id"]
    assert (trial["metric"], trial["score"]) == ("val/f1_merged/overall", pytest.approx(0.8))
    assert (trial["epochs"], trial["wanted_epochs"], trial["started"]) == (120, 200, STARTED)
    assert (running["status"], running["ended"], running["score"]) == ("RUNNING", None, None)


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> RunComparison:
    scores: dict[str, list[float | None]] = {
        "val/f1_mean": [0.5, 0.625],
        "val/f1/left_eye": [0.25, None],
        "test/f1_mean": [None, 0.5],
        "test/boundary_f1_1px/skin": [0.5, 0.5],
    }
    settings: dict[str, list[str | None]] = {"data.root": ["/a/very/long/path/to/a/dataset/Helen", "dataset/LaPa"]}
    found = RunComparison([logged("a"), logged("b")], settings, {"device": ["x86_64", None]}, scores)
    monkeypatch.setattr("faceparse.core.runs.rank_runs.compare_runs", lambda references, uri: found)
    return found


def test_two_runs_stand_side_by_side(cli: Any, comparison: RunComparison) -> None:
    lines = [line.split() for line in cli("runs", "compare", "a", "b").out.splitlines()]
    assert ["data.root", "/a/very/long/path/to/a/dataset/Helen", "dataset/LaPa"] in lines
    assert ["device", "x86_64", "-"] in lines
    assert ["score", "a", "b", "difference"] in lines
    assert ["val/f1_mean", "0.5000", "0.6250", "+0.1250"] in lines
    assert ["val/f1/left_eye", "0.2500", "-", "-"] in lines
    assert ["test/f1_mean", "-", "0.5000", "-"] in lines
    assert not [line for line in lines if "boundary" in str(line)]  # only for programs


def test_long_values_are_folded_on_a_narrow_terminal(
    cli: Any, comparison: RunComparison, terminal: Callable[[int], io.StringIO]
) -> None:
    written = terminal(40)
    cli("runs", "compare", "a", "b")
    _, _, *lines = plain(written)
    assert max(len(line.rstrip()) for line in lines) <= 40
    assert [line.split() for line in lines if line.startswith("val/f1_mean")] == [
        ["val/f1_mean", "0.5000", "0.6250", "+0.1250"]
    ]


def test_programs_get_the_whole_comparison(cli: Any, comparison: RunComparison) -> None:
    found = json.loads(cli("runs", "compare", "a", "b", "--json").out)
    assert [run["name"] for run in found["runs"]] == ["a", "b"]
    assert found["settings"] == comparison.settings
    assert found["scores"] == comparison.scores
    assert found["differences"]["val/f1_mean"] == [0.125]
    assert found["differences"]["test/f1_mean"] == [None]


def test_a_real_run_is_listed_from_the_store_that_training_uses(cli: Any, trained: RunResult) -> None:
    (found,) = [one for one in json.loads(cli("runs", "--limit", 0, "--json").out) if one["id"] == trained.run_id]
    assert found["score"] == pytest.approx(trained.best_score, abs=1e-6)
    assert found["run_dir"] == str(trained.run_dir)
    assert (found["dataset"], found["metric"], found["epochs"]) == ("faces", "val/f1_merged/overall", 1)


def test_what_cannot_be_listed_is_one_line(cli: Any, tmp_path: Path) -> None:
    assert cli("runs", "--uri", f"sqlite:///{tmp_path}/none.db").message.endswith("or name a store with --uri")
    assert cli("runs", "compare", "one").message == "runs compare one: name at least two runs"
    assert "has this name or id" in cli("runs", "compare", "no-such", "run").message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (65, "1 min"), (3900, "1 h 05 min"), (176_000, "2 d 1 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert runs.duration(seconds) == text


def test_an_address_that_is_none_is_one_line_without_its_password(cli: Any) -> None:
    done = cli("runs", "--uri", "http://u:s3cr3t@[bad")
    assert done.code == 2
    assert done.err.startswith("error: tracking.uri = 'http://[bad': no address that MLflow takes")
