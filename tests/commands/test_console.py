import io
import re

import pytest
from rich.console import Console
from rich.table import Table

from faceparse.commands import console, training_display
from faceparse.commands.training_display import TrainingDisplay
from faceparse.core.training.trainer import Progress

METRICS = {"train/loss": 1.25, "train/lr": 0.001, "train/images_per_second": 10.0, "val/f1_mean": 0.5, "val/miou": 0.25}


def progress(iteration: int) -> Progress:
    return Progress(iteration, {"loss": 2.0}, lr=0.1, images_per_second=7.5)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """stderr as a terminal."""
    written = io.StringIO()
    screen = Console(file=written, force_terminal=True, width=100, highlight=False)
    monkeypatch.setattr(console, "err", screen)
    monkeypatch.setattr(training_display, "err", screen)
    return written


def test_what_is_tracked_is_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.track("abc", 3, "letters")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")  # nothing took long


def test_long_work_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LINE_EVERY", -1.0)
    assert list(console.track("ab", 2, "letters")) == ["a", "b"]
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["letters 1/2", "letters 2/2"]
    assert all(re.fullmatch(r"letters \d/2, [0-9.]+/s, \d+:\d\d:\d\d left", line) for line in lines)
    assert list(console.track("ab", None, "letters")) == ["a", "b"]
    assert capsys.readouterr().err.startswith("letters 1/?, ")
    assert captured.out == ""


def test_a_terminal_has_a_bar(terminal: io.StringIO) -> None:
    assert list(console.track("abc", 3, "letters")) == ["a", "b", "c"]
    assert "letters" in terminal.getvalue()


def test_brackets_and_colons_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "/data/[bold]/:smile:/[/red]/x.png"
    console.out.print(text)
    console.err.print(text)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (text + "\n", text + "\n")


def test_long_lines_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    console.out.print("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_an_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay() as display:
        display.epoch_started(1, 2, 3)
        for iteration in (1, 3):
            display.progress(progress(iteration))
        display.epoch_finished(1, METRICS | {"val/f1/hair": 0.75}, best=True, metric="val/f1/hair")
        display.epoch_started(2, 2, 3)
        trained = {key: value for key, value in METRICS.items() if "val" not in key}
        display.epoch_finished(2, trained, best=False, metric="val/f1/hair")
        display.message("[x] message")
        display.warning("careful")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "epoch 1/2: loss 1.250, lr 1.00e-03, 10.0 images/s, val F1 0.5000, mIoU 0.2500, f1/hair 0.7500 *",
        "epoch 2/2: loss 1.250, lr 1.00e-03, 10.0 images/s",
        "[x] message",
        "warning: careful",
    ]
    assert captured.out == ""


def test_a_long_epoch_says_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_display, "LINE_EVERY", -1.0)
    with TrainingDisplay() as display:
        display.epoch_started(2, 9, 30)
        display.progress(progress(10))
    assert capsys.readouterr().err == "epoch 2/9 iteration 10/30: loss 2.000, 7.5 images/s\n"


def test_an_epoch_on_a_terminal_has_a_bar_that_goes_away(terminal: io.StringIO) -> None:
    with TrainingDisplay() as display:
        display.epoch_started(1, 2, 3)
        display.progress(progress(1))
        display.progress(progress(3))
        display.epoch_finished(1, METRICS, best=False, metric="val/miou")
        display.epoch_started(2, 2, 3)
        display.progress(progress(1))  # and now it fails,
        display.epoch_started(1, 2, 3)
        display.progress(progress(1))  # and another is interrupted
    written = terminal.getvalue()
    assert "epoch 1/2" in written
    assert "loss 2.000, 7.5 images/s" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 3  # cursor hidden, cursor shown again


def test_control_characters_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files and of classes may hold what commands a terminal."""
    console.out.print("a\x1b[31mb\x9bc")
    table = Table("name")
    table.add_row("x\x1b]0;title\x07y")
    console.print_table(table)
    written = capsys.readouterr().out
    assert "a\\x1b[31mb\\x9bc" in written
    assert "x\\x1b]0;title\\x07y" in written
    assert "\x1b" not in written
