"""The command `faceparse uncertain [--model MODEL] INPUT...`."""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.model import Model, split_model, tell_terms
from faceparse.commands.options import BatchSize, Column, Device, Gpus, InputSize, Trust, device_name, parse_size


def uncertain(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Photographs, folders of them, patterns such as 'a/**/*.jpg', tars and Parquet files of them, here or "
            "elsewhere. If the first one names a model, it is the --model.",
        ),
    ] = None,
    model: Model = None,
    trust: Trust = False,
    first: Annotated[
        int, typer.Option("--first", "-n", min=1, help="How many photographs to choose, the least sure first.")
    ] = 20,
    copy: Annotated[
        Path | None,
        typer.Option(help="Folder to copy the chosen ones to. Photographs that it has already are not ranked again."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.csv", help="Table of the whole ranking.")] = (
        Path("uncertain.csv")
    ),
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search folders within folders, too.")] = False,
    column: Column = None,
    faces: Annotated[
        str,
        typer.Option(metavar="auto|none|yunet.onnx|boxes.json", help="How faces are found; see 'predict --help'."),
    ] = "auto",
    min_face: Annotated[
        float,
        typer.Option(help="Height of the smallest face that `auto` looks for, as a share of the picture's height."),
    ] = 0.08,
    gpus: Gpus = None,
    device: Device = None,
    batch_size: BatchSize = None,
    input_size: InputSize = None,
) -> None:
    """Rank photographs by how unsure a model is.

    They need no labels: label the first ones next.

    The measure is the mean entropy of the class probabilities over the face (0 to 1), plus the share of the face whose
    class changes when the picture is mirrored (0 to 1). It needs no labels.
    """
    from faceparse.commands.console import err, number_table, out, print_table, silent_libraries, track
    from faceparse.core.errors import SettingsError
    from faceparse.core.load import load_model_from
    from faceparse.core.parser.inference import load_parser
    from faceparse.core.prediction.rank_uncertain import plan_choice
    from faceparse.core.text.patterns import some

    silent_libraries()
    name, typed = split_model(model, inputs or [])
    if not typed:
        raise SettingsError("nothing to rank; name photographs or folders")
    loaded = load_model_from(name, trust=trust)
    tell_terms(loaded.address)
    plan = plan_choice(
        typed,
        output,
        label_set=loaded.label_set,
        first=first,
        copy=copy,
        recursive=recursive,
        faces=faces,
        min_face=min_face,
        column=column,
    )
    parser = load_parser(loaded, loaded.device(device_name(gpus, device) or "auto"), parse_size(input_size))
    report = plan.run(
        parser,
        geometry=loaded.geometry,
        part_classes=loaded.part_classes,
        batch_size=batch_size or 4,
        track=track,
    )
    if plan.passed_over:
        err.print(f"passed over, being no photographs: {some(plan.passed_over)}")
    for one in report.ranked:
        if one.doubt is None:
            err.print(f"{'no face' if one.faces == 0 else 'all background'}: {one.source.where}")
    for problem in report.broken:
        err.print(f"left out: {problem}")
    table = number_table("", "photograph", "uncertainty", "entropy", "disagreement")
    for one in report.chosen:
        assert one.doubt is not None
        numbers = (one.doubt.uncertainty, one.doubt.entropy, one.doubt.disagreement)
        table.add_row(one.source.where, *(f"{number:.4f}" for number in numbers))
    if report.chosen:
        print_table(table)
    before = f", {len(plan.copied_before)} copied before" if plan.copied_before else ""
    broken = f", {len(report.broken)} left out" if report.broken else ""
    out.print(f"{output}: {len(report.ranked)} ranked{before}{broken}")
    if copy is not None:
        out.print(f"{copy}: {len(report.chosen)} copied")
    if report.broken:
        raise typer.Exit(1)
