import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from faceparse import cli
from faceparse.cli import run
from faceparse.core.errors import FaceparseError, OutputError

COMMANDS = [
    "demo",
    "web",
    "prepare",
    "check",
    "dedupe",
    "edges",
    "train",
    "leaderboard",
    "sweep",
    "curve",
    "eval",
    "predict",
    "report",
    "uncertain",
    "models",
    "export",
    "import",
    "push",
    "runs",
    "sync",
    "ui",
    "doctor",
]
SOURCES = ["helen", "lapa", "celebamask-hq", "ibugmask", "fasseg", "folder", "synthetic", "shards"]

Faceparse = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    "arguments", [[], *([name] for name in COMMANDS), *(["prepare", name] for name in SOURCES), ["runs", "compare"]]
)
def test_every_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: {' '.join(['faceparse', *arguments])} ")
    assert captured.err == ""
    if arguments not in ([], ["prepare"]):
        first = captured.out.split("\n\n")[1]
        assert len(first.split()) >= 4  # what it does, in words


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"faceparse {version('faceparse')}\n"


def test_the_help_lists_every_command_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    lines = capsys.readouterr().out.partition("To begin with:")[2].splitlines()
    listed = [line.split() for line in lines if line.startswith("  ")]
    assert sorted(words[0] for words in listed) == sorted(COMMANDS)
    assert not [words for words in listed if words[-1].endswith("...")], "a first sentence is too long"


def test_an_option_of_the_published_code_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    for typed in (["--dataset", "helem"], ["--dataset=helem"]):
        assert run(["train", *typed]) == 2
        assert "label set 'helem' is not built in; did you mean 'helen'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["prepare"]])
def test_a_command_without_its_own_shows_the_help_as_it_is(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run([*arguments, "--help"])
    expected = capsys.readouterr().out
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == expected.strip()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate"], "No such command 'evaluate'."),
        (["doctor", "--fast"], "No such option: --fast"),
        (["edges"], "Missing argument "),
        (["check", "a", "b"], "Got unexpected extra argument"),
        (["check", "a", "--processes", "x"], "Invalid value for '--processes': "),
        (["prepare", "imagenet", "a", "b"], "No such command 'imagenet'."),
        (["check", "nowhere"], "nowhere: no such dataset folder; "),
        (["edges", "nowhere"], "nowhere/labels: no such folder; "),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {expected}")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (FaceparseError("file: wrong;\n  fix it"), 2, "error: file: wrong; fix it\n"),
        (OutputError("cannot write x"), 2, "error: cannot write x\n"),
        (typer.Exit(1), 1, ""),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (typer.Exit(130), 130, "interrupted\n"),  # typer's own reading of Ctrl-C
        (typer.Abort(), 130, "interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/x"),
            2,
            "error: cannot use /runs/x: No space left on device; free space or choose another place\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            2,
            "error: cannot use the output: Read-only file system; free space or choose another place\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", raising(error))
    assert run(["check"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", expected)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.ECONNREFUSED, "refused")])
def test_a_bug_is_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", raising(error))
    with pytest.raises(type(error)):
        run(["check"])


# Processes of their own: they cost seconds each.


def test_the_real_command_works_from_raw_data_to_edges(faceparse: Faceparse) -> None:
    done = faceparse("prepare", "synthetic", "faces", "--count", 4, "--size", 48, "--processes", 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "faces: 2 train, 1 val, 1 test; 11 classes of helen"
    done = faceparse("edges", "faces", "--processes", 2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "faces/edges: 4 made, 0 up to date\n", "")
    (next(Path("faces/labels").iterdir())).write_bytes(b"")
    done = faceparse("check", "faces", "--processes", 1)
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("faces: 1 problem (2 train, 1 val, 1 test; ")


def test_the_real_command_refuses_in_one_line(faceparse: Faceparse, tmp_path: Path) -> None:
    done = faceparse("train", "--data-dir", "nowhere")
    expected = "error: nowhere: no such dataset folder; make it with 'faceparse prepare' or give --data-dir\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_in_a_word_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faceparse.cli", "prepare", "synthetic", "faces", "--count", "5000"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not list(tmp_path.glob("faces/labels/*.png")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = [sys.executable, "-m", "faceparse.cli", "train", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")


def test_the_installed_command_is_this_one() -> None:
    script = Path(sys.executable).parent / "faceparse"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: faceparse ")
