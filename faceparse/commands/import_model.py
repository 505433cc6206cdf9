"""The command `faceparse import FILE`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from faceparse.core.foreign.guesses import Trial
    from faceparse.core.foreign.import_model import ImportReport


def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ONNX file of a network that others trained.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle's folder. Default: FILE's name, beside it.")
    ] = None,
    describe: Annotated[
        str | None,
        typer.Option(
            metavar="TOML|NAME",
            help="Description of the network: a TOML file, or the name of a known one (bisenet-resnet18, "
            "segformer-b5). Default: found by the file's SHA-256.",
        ),
    ] = None,
    describe_template: Annotated[
        bool, typer.Option("--describe-template", help="Print a description of this file to fill in, and stop.")
    ] = False,
    try_: Annotated[
        Path | None,
        typer.Option(
            "--try",
            metavar="DATASET",
            help="Prepared dataset: score the network on some of its photographs, also under other descriptions.",
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of --try: train, val or test.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Photographs of the split that --try scores on. Default: 16.")
    ] = None,
) -> None:
    """Make a model of a foreign ONNX file. The bundle is verified against that file, and every command takes it.

    Exits with 1 where --try finds a description that scores clearly better; the bundle is written all the same.
    """
    from faceparse.commands.console import err, out, silent_libraries, track
    from faceparse.core.errors import SettingsError
    from faceparse.core.foreign.find_description import description_template, find_description
    from faceparse.core.foreign.foreign_file import read_foreign
    from faceparse.core.foreign.guesses import photographs_to_try, try_descriptions
    from faceparse.core.foreign.import_model import Importer

    silent_libraries()
    for name, given in (("--split", split), ("--limit", limit)):
        if given is not None and try_ is None:
            raise SettingsError(f"{name} is of the photographs to try; add --try DATASET")
    for name, one in (("--output", output), ("--describe", describe), ("--try", try_)):
        if describe_template and one is not None:
            raise SettingsError(f"--describe-template prints and stops; leave {name} out")
    read = read_foreign(file)
    if describe_template:
        out.print(description_template(read), end="")
        return
    description, note = find_description(read, describe)
    importer = Importer(read, description)
    target = output or file.with_suffix(".bundle")
    replaced = f"{target}: the bundle that is there is replaced" if importer.check_place(target) else ""
    scored_on = photographs_to_try(importer, try_, split, limit or 16) if try_ is not None else None
    for text in filter(None, (note, importer.note, replaced)):
        err.print(f"note: {text}")
    err.print(f"importing {file}, then comparing the bundle with it ...")
    report = importer.write(target, scored_on=scored_on, track=track)
    out.print(_line(report))
    if scored_on is not None:
        trial = try_descriptions(importer, report.model, scored_on, track)
        _show(trial, scored_on.root)
        if trial.better is not None:
            raise typer.Exit(1)


def _line(report: "ImportReport") -> str:
    model, (height, width) = report.model, report.model.settings.data.input_size
    agreement = min(check.agreement for check in report.checks)
    difference = max(check.difference or 0.0 for check in report.checks)
    one = ", one picture at a time" if model.largest_batch == 1 else ""
    return (
        f"{report.path}: {len(model.label_set)} classes of {model.label_set.name}, {model.fit} to {height} x {width}"
        f"{one}, {report.size / 1e6:.1f} MB; the class of the foreign file on {agreement:.4%} of pixels, largest "
        f"difference of a logit {difference:.2e}"
    )


def _show(trial: "Trial", dataset: Path) -> None:
    from faceparse.commands.console import err, number_table, print_table
    from faceparse.core.scoring.scores import percent

    table = number_table(f"{trial.photographs} photographs of {dataset.name}", "description", "mean F1 %", "change")
    table.add_row("as it is", percent(trial.mean_f1), "")
    for guess in trial.guesses:
        table.add_row(guess.change, percent(guess.mean_f1), f"{100 * (guess.mean_f1 - trial.mean_f1):+.2f}")
    print_table(table)
    if trial.absent:
        err.print(
            f"note: no photograph here has {', '.join(trial.absent)}; whether the description names these classes "
            "rightly was not tried"
        )
    if (better := trial.better) is not None:
        err.print(f"warning: the description may be wrong: {better.change} scores better; write {better.lines}")
