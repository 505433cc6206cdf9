"""The command `faceparse runs [compare A B...]`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faceparse.core.runs.mlflow_run import LoggedRun
    from faceparse.core.runs.rank_runs import Ranked, RunComparison

app = typer.Typer(no_args_is_help=False, rich_markup_mode=None)

Uri = Annotated[str | None, typer.Option("--uri", help="Tracking URI. Default: the one that 'train' uses here.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]

LEAST_FIRST = ("metric", "started", "epochs", "took", "status")
"""Columns that a narrow terminal leaves out, in this order."""
GAP = 2
"""Spaces between two columns."""


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    experiment: Annotated[str | None, typer.Option(help="List only runs of this experiment. Default: all.")] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC", help="Rank by this, such as test/f1_mean. Default: the score that chose each best.pth."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Runs of each experiment, trials of each sweep; 0 is all.")] = 20,
    uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """List the runs that MLflow knows, the best first. 'runs compare' shows some side by side."""
    if context.invoked_subcommand is not None:
        return
    from faceparse.commands.console import out, silent_libraries

    silent_libraries()  # before the libraries are imported
    from faceparse.core.runs.rank_runs import rank_runs

    store = _store(uri)
    ranked = rank_runs(store, experiment=experiment, by=by)
    if as_json:
        found = (one for top in ranked.values() for one in _limited(top, limit))
        print(json.dumps([_run_dict(item, by) for one in found for item in (one, *_limited(one.children, limit))]))
        return
    if not ranked:
        out.print(f"no runs at {store} yet")
    for name, top in ranked.items():
        _show_experiment(name, top, by, limit)


@app.command("compare")
def compare(
    references: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN...", help="Each a run directory, or the beginning of a name or an id."),
    ],
    uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """Show runs side by side: the settings that differ, and the scores of each best.pth."""
    from faceparse.core.errors import SettingsError

    if len(references) < 2:
        raise SettingsError(f"runs compare {references[0]}: name at least two runs")
    from faceparse.commands.console import silent_libraries

    silent_libraries()
    from faceparse.core.runs.rank_runs import compare_runs

    comparison = compare_runs(references, _store(uri))
    if as_json:
        print(json.dumps(_comparison_dict(comparison)))
    else:
        _show_comparison(comparison)


def _store(uri: str | None) -> str:
    from faceparse.core.runs.database import tracking_uri
    from faceparse.core.settings import load_settings

    return tracking_uri(load_settings(options={"tracking.uri": uri} if uri else {}).tracking)


def _limited(ranked: "list[Ranked]", limit: int) -> "list[Ranked]":
    return ranked[:limit] if limit else ranked


def _show_experiment(name: str, top: "list[Ranked]", by: str | None, limit: int) -> None:
    from faceparse.commands.console import out

    rows, left_out = [], len(top) - len(_limited(top, limit))
    for one in _limited(top, limit):
        rows.append(_row(one, by))
        rows += [_row(child, by, below=True) for child in _limited(one.children, limit)]
        if trials := len(one.children) - len(_limited(one.children, limit)):
            rows.append({"run": f"  and {trials} more trials"})
    metrics = {row["metric"] for row in rows if "metric" in row}
    if len(metrics) == 1:  # the title names it
        for row in rows:
            row.pop("metric", None)
    title = f"{name}, by {metrics.pop()}" if len(metrics) == 1 else name
    _print_table(title, ("run", "id", "status", "epochs", "score", "metric", "started", "took"), rows)
    if left_out:
        out.print(f"and {left_out} more runs (--limit 0 shows all)")


def _row(one: "Ranked", by: str | None, *, below: bool = False) -> dict[str, str]:
    import time

    run = one.run
    wanted = f"/{run.wanted_epochs}" if run.wanted_epochs else ""
    epochs = f"{len(one.children)} trials" if run.is_sweep else f"{run.epochs or 0}{wanted}"
    return {
        "run": f"{'  ' * below}{run.name}",
        "id": run.short_id,
        "status": run.status.lower(),
        "epochs": epochs,
        "score": "-" if one.score is None else f"{one.score:.4f}",
        **({} if run.is_sweep and by is None else {"metric": by or run.metric}),
        "started": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)),
        "took": duration((run.ended or time.time()) - run.started) + ("" if run.ended else " so far"),
    }


def _show_comparison(comparison: "RunComparison") -> None:
    from faceparse.commands.console import out

    names = _distinct_names(comparison.runs)
    for run, name in zip(comparison.runs, names, strict=True):
        out.print(f"{name}: {run.experiment}/{run.name}, {run.status.lower()}, run {run.id}")
    settings = comparison.settings | comparison.origin
    if settings:
        cells = {key: ["-" if value is None else value for value in values] for key, values in settings.items()}
        rows = [{"setting": key} | dict(zip(names, values, strict=True)) for key, values in cells.items()]
        _print_table("settings that differ", ("setting", *names), rows)
    else:
        out.print("no setting differs")
    differences = ["difference"] if len(names) == 2 else [f"{name} - {names[0]}" for name in names[1:]]
    rows = [
        {"score": name}
        | {run: _score(value) for run, value in zip(names, comparison.scores[name], strict=True)}
        | {title: _score(value, "+.4f") for title, value in zip(differences, comparison.differences(name), strict=True)}
        for name in comparison.scores
        if _is_main(name)
    ]
    if rows:
        _print_table("scores of best.pth", ("score", *names, *differences), rows)
    else:
        out.print("no scores yet")


def _is_main(name: str) -> bool:
    """Whether a score is shown in the table; --json has all of them."""
    kind = name.partition("/")[2].partition("/")[0]
    return kind in ("f1_mean", "miou", "pixel_accuracy", "f1_merged", "f1")


def _score(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _distinct_names(runs: "Sequence[LoggedRun]") -> list[str]:
    """Names of the runs, with ids where two runs have the same name."""
    names = [run.name for run in runs]
    return [f"{run.name} {run.short_id}" if names.count(run.name) > 1 else run.name for run in runs]


def _print_table(title: str, columns: "Iterable[str]", rows: "Sequence[dict[str, str]]") -> None:
    """Print all columns for programs; on a narrow terminal leave out columns and fold cells."""
    from rich import box
    from rich.table import Table

    from faceparse.commands.console import out, print_table

    shown = [column for column in columns if any(row.get(column) for row in rows)]
    widths = {column: max(len(text) for text in (column, *(row.get(column, "") for row in rows))) for column in shown}

    def width() -> int:
        return sum(widths[column] + GAP for column in shown)

    for column in LEAST_FIRST if out.is_terminal else ():
        if width() > out.width and column in shown:
            shown.remove(column)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in shown:
        numbers = all(_is_number(row.get(column, "-")) for row in rows)
        keeps_whole = column == shown[0] and widths[column] < out.width / 2
        table.add_column(column, justify="right" if numbers else "left", overflow="fold", no_wrap=keeps_whole)
    for row in rows:
        table.add_row(*(row.get(column, "") for column in shown))
    out.print(title)
    print_table(table)
    out.print()


def _is_number(text: str) -> bool:
    return text[:1] in "+-0123456789" and "-" not in text[1:]


def duration(seconds: float) -> str:
    """Phrase for a duration: `42 s`, `18 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def _run_dict(one: "Ranked", by: str | None) -> dict[str, Any]:
    run = one.run
    return {
        "experiment": run.experiment,
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "metric": by or run.metric,
        "score": one.score,
        "best_epoch": run.best_epoch,
        "epochs": run.epochs,
        "wanted_epochs": run.wanted_epochs,
        "started": run.started,
        "ended": run.ended,
        "parent": run.parent,
        "dataset": run.tags.get("dataset"),
        "run_dir": run.tags.get("run_dir"),
    }


def _comparison_dict(comparison: "RunComparison") -> dict[str, Any]:
    about = ("experiment", "id", "name", "status", "uri")
    return {
        "runs": [{key: getattr(run, key) for key in about} for run in comparison.runs],
        "settings": comparison.settings,
        "origin": comparison.origin,
        "scores": comparison.scores,
        "differences": {name: comparison.differences(name) for name in comparison.scores},
    }
