"""Tables, messages and progress bars of the commands. Progress goes to stderr: stdout holds only results."""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from faceparse.core.text.paths import visible

T = TypeVar("T")


class _Console(Console):
    """Shows paths and messages as they are: `[x]`, `:x:` and control characters have no special meaning."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


out, err = _Console(), _Console(stderr=True)

WIDEST = 10_000
"""Columns of an output that is not a terminal."""
LINE_EVERY = 15.0
"""Seconds between two progress lines where there is no terminal."""


def table_width(table: Table) -> int:
    """Columns that the table needs to show all of its text."""
    return out.measure(table, options=out.options.update(width=WIDEST)).maximum


def number_table(title: str, name: str, *numbers: str, no_wrap: bool = False, **style: Any) -> Table:
    """Return a table without rows: one column of names, then columns of numbers. `style` goes to Rich."""
    table = Table(title=title, title_justify="left", **style)
    table.add_column(name, no_wrap=no_wrap)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=no_wrap)
    return table


def print_table(table: Table) -> None:
    """Print a table; in a pipe as wide as its text, since no window can be widened there."""
    if out.is_terminal:
        out.print(table)
    else:
        width = max(out.width, table_width(table))
        _Console(width=width).print(table)


def next_commands(checkpoint: Path, dataset: Path, run_id: str | None) -> str:
    """Line that says how to score a checkpoint, on val where the dataset has no list for test, and to see its run."""
    from faceparse.core.scoring.split import held_out

    split = held_out(dataset)
    option, ui = "" if split == "test" else f" --split {split}", " ; faceparse ui" if run_id else ""
    return f"next: faceparse eval {checkpoint}{option}{ui}"


def progress_bar() -> Progress:
    """Progress bar on stderr with count, rate and times; it disappears when it is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=err, transient=True)


def track(items: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Yield the items and show progress: a bar on a terminal, elsewhere a line every 15 seconds."""
    started = shown = time.monotonic()
    if not err.is_terminal:
        for done, item in enumerate(items, 1):
            yield item
            if (now := time.monotonic()) - shown > LINE_EVERY:
                shown = now
                rate = done / (now - started)
                left = f", {timedelta(seconds=round((total - done) / rate))} left" if total else ""
                err.print(f"{what} {done}/{total or '?'}, {rate:.1f}/s{left}")
        return
    with progress_bar() as bar:
        task = bar.add_task(what, total=total, rate="")
        for done, item in enumerate(items, 1):
            yield item
            bar.update(task, completed=done, rate=f"{done / max(time.monotonic() - started, 1e-6):.1f}/s")


def silent_libraries() -> None:
    """Hide what other libraries log or advise. Most of their warnings are still shown."""
    import warnings

    silent_loggers()
    warnings.filterwarnings("ignore", category=FutureWarning)
    sys.stdout.flush()


def silent_loggers() -> None:
    """Hide what other libraries log at length."""
    import logging
    import os

    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # for MLflow, which may be imported later
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # of the profiler
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # training says in one line what c10d warns of
    for name in ("alembic", "mlflow", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it advises users to log in
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)  # it says that a backbone has no classifier
    # It prints tracebacks of errors that we tell in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
