"""The `faceparse` command: registers the commands. Only this file turns errors into a line and an exit code."""

import errno
import io
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from faceparse import __version__
from faceparse.commands import (
    check,
    curve,
    dedupe,
    demo,
    doctor,
    edges,
    evaluate,
    export,
    import_model,
    leaderboard,
    models,
    predict,
    prepare,
    push,
    report,
    runs,
    sweep,
    sync,
    train,
    ui,
    uncertain,
    web,
)
from faceparse.core.errors import FaceparseError, InterruptedRunError, ProblemsError, SettingsError
from faceparse.core.text.address import without_secrets
from faceparse.core.text.paths import utf8_problem, visible


class _Commands(typer.core.TyperGroup):
    """Commands in groups. Checks the paths that were typed before a command starts."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in _GROUPS.items():
            width = formatter.width - 6 - max(map(len, self.commands))
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(width)) for name in names])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _gate(command)
        return command


def _gate(command: Any) -> None:
    """Let a command, and the commands below it, refuse paths that no file can have."""
    for parameter in command.params:
        if parameter.type_descriptor is not None and "Path" in str(parameter.type_descriptor.annotation):
            parameter.process_value = partial(_gated_value, parameter, parameter.process_value)
    for one in getattr(command, "commands", {}).values():
        _gate(one)


def _gated_value(parameter: Any, process: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    if isinstance(value, str) and value != "-" and (problem := utf8_problem(value)):
        option = parameter.opts[0]
        raise SettingsError(f"{option if option.startswith('-') else option.upper()}: {problem}")
    return process(context, value)


_GROUPS = {
    "To begin with": ("demo", "doctor"),
    "Data": ("prepare", "check", "dedupe", "edges", "uncertain"),
    "Training and scores": ("train", "sweep", "curve", "eval", "leaderboard"),
    "A model in use": ("predict", "report", "web", "models", "export", "import", "push"),
    "Runs in MLflow": ("runs", "ui", "sync"),
}
"""Heading -> commands, as the help shows them."""

app = typer.Typer(
    name="faceparse",
    cls=_Commands,
    help="Face parsing with EAGRNet: prepare datasets, train, score, predict and export.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help imports no rich, and appears at once
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"faceparse {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None: ...


app.command()(demo.demo)
app.add_typer(prepare.app, name="prepare")
app.command()(check.check)
app.command()(dedupe.dedupe)
app.command()(edges.edges)
app.command()(train.train)
app.command()(sweep.sweep)
app.command()(curve.curve)
app.command("eval")(evaluate.evaluate)
app.command()(leaderboard.leaderboard)
app.command()(predict.predict)
app.command()(report.report)
app.command()(uncertain.uncertain)
app.command()(web.web)
app.command()(models.models)
app.command()(export.export)
app.command("import")(import_model.import_model)
app.command()(push.push)
app.add_typer(runs.app, name="runs")
app.command()(sync.sync)
app.command()(ui.ui)
app.command()(doctor.doctor)

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

MOST_PROBLEMS = 100
"""Problems of which each gets a line."""

_RENAMED = {"--dataset": "--label-set"}
"""Old name of an option -> its present name. Users of the published code type the old one."""

# Errors of a path, with the fix; then errors of a full, read-only or forbidden place.
_PATH_ERRORS = {errno.ENAMETOOLONG: "choose a shorter name", errno.ELOOP: "fix the link"}
_PLACE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def main() -> NoReturn:
    """Run the command with the arguments of this process and exit with its code."""
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command with `arguments` and return its exit code.

    0: done. 1: done, but something was found or left out. 2: a mistake that the user can fix. 130: Ctrl-C.

        run(["check", "dataset/Helen"])
    """
    try:
        names = [_present_name(one) for one in arguments]
        code = app(names, prog_name="faceparse", standalone_mode=False, obj=run) or 0  # obj: for the demo
    except InterruptedRunError as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except ProblemsError as error:
        return _fail(*_lines(error))
    except FaceparseError as error:
        return _fail(str(error))
    except typer.TyperException as error:  # a bad option, a missing argument
        context, message = getattr(error, "ctx", None), error.format_message()
        if context is not None and message == context.get_help():  # nothing was typed: the message is the help
            print(message, file=sys.stderr)
            return 2
        where = f" (see '{context.command_path} --help')" if context else ""
        return _fail(f"{message}{where}")
    except typer.Exit as leave:
        code = leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except OSError as error:
        if error.errno in _PATH_ERRORS:
            return _fail(f"cannot use {error.filename}: {error.strerror}; {_PATH_ERRORS[error.errno]}")
        if error.errno not in _PLACE_ERRORS:
            raise
        return _fail(
            f"cannot use {error.filename or 'the output'}: {error.strerror}; free space or choose another place"
        )
    if code == INTERRUPTED:  # typer turns most Ctrl-Cs into this exit code
        print("interrupted", file=sys.stderr)
    return code


def _present_name(argument: str) -> str:
    """Return the argument, with an option's old name replaced by the present one."""
    name, sign, value = argument.partition("=")
    return _RENAMED.get(name, name) + sign + value


def _lines(error: ProblemsError) -> list[str]:
    """A line for each problem, and a last one with their number; one line alone where there is one problem."""
    if len(error.problems) == 1:
        return [str(error)]
    left = len(error.problems) - MOST_PROBLEMS
    more = f"; {left} more are not shown" if left > 0 else ""
    return [*error.problems[:MOST_PROBLEMS], f"{error.summary}{more}{error.hint}"]


def _fail(*lines: str) -> int:
    for line in lines:
        print(f"error: {visible(without_secrets(' '.join(line.split())))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
