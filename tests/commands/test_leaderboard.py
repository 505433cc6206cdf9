import json
from pathlib import Path

import pytest

from tests.commands.conftest import Cli
from tests.core.scoring.score_folders import made, write


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, errors in enumerate((0.3, 0.1)):
        write(tmp_path / "runs" / str(seed) / "eval", made(seed, errors=errors))
    return tmp_path / "runs"


def test_the_summary_names_each_table_and_the_page(runs: Path, cli: Cli) -> None:
    done = cli("leaderboard", runs)
    assert (done.code, done.err) == (0, "")
    line, page = done.out.splitlines()
    best = made(1, errors=0.1).summaries["eagrnet"]
    low, high = best.intervals["mean_f1"]
    assert line == (
        "Faces test, protocol eagrnet, x: 2 evaluations, mean F1 % at best "
        f"{100 * best.scores.mean_f1:.2f} ({100 * low:.1f}\N{EN DASH}{100 * high:.1f}), 1/best.pth"
    )
    assert page == f"page: {runs / 'leaderboard.html'}"
    assert "Leaderboard of runs" in (runs / "leaderboard.html").read_text()


def test_json_is_one_object_and_the_page_goes_where_it_is_told(runs: Path, cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "new" / "scores.html"
    done = cli("leaderboard", runs, "-o", page, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert list(found) == ["page", "tables", "left_out"]
    assert found["page"] == str(page)
    assert 'href="../runs/1/eval/report.html"' in page.read_text()
    assert not (runs / "leaderboard.html").exists()


def test_what_is_left_out_is_named_in_one_line(runs: Path, cli: Cli) -> None:
    (runs / "scores.json").write_text("{")
    done = cli("leaderboard", runs, "--json")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert done.err.startswith(
        f"warning: left out {runs / 'scores.json'}: not the scores of an evaluation (Invalid JSON"
    )
    assert len(json.loads(done.out)["left_out"]) == 1


def test_bad_folders_and_outputs_are_named(runs: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert cli("leaderboard", tmp_path / "gone").message == (
        f"{tmp_path / 'gone'}: no such folder; name one with evaluations in it, such as runs"
    )
    assert cli("leaderboard", tmp_path / "empty").message == (
        f"{tmp_path / 'empty'}: no evaluation in it; 'faceparse eval' makes one"
    )
    assert cli("leaderboard", runs, "-o", tmp_path / "notes.txt").message == (
        f"--output {tmp_path / 'notes.txt'}: exists, and is no HTML page; choose another name"
    )
    assert "cannot write" in cli("leaderboard", runs, "-o", tmp_path / "empty").message
    assert "cannot write" in cli("leaderboard", runs, "-o", tmp_path / "notes.txt" / "page.html").message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_out_of_the_folder_is_not_written_through(runs: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    (runs / "leaderboard.html").symlink_to(tmp_path / "mine.html")
    assert "leaderboard.html: a link leads to" in cli("leaderboard", runs).message
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert cli("leaderboard", runs, "-o", runs / "leaderboard.html").code == 0  # who names it means it
