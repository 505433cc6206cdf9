"""The command `faceparse eval CHECKPOINT...`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceparse.commands.model import tell_terms
from faceparse.commands.options import (
    TRAINED,
    BatchSize,
    DataDir,
    Device,
    Gpus,
    InputSize,
    LabelSetName,
    MappingFile,
    NumClasses,
    Trust,
    device_name,
    parse_size,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faceparse.core.scoring.comparison import Comparison
    from faceparse.core.scoring.summary import Evaluation, Summary


_GAPS = ("gap", "95 %", "p", "worst", "best")


def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(metavar="CHECKPOINT...", help=f"{TRAINED} Several are compared with the first."),
    ],
    trust: Trust = False,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    protocol: Annotated[
        list[str],
        typer.Option(
            help="eagrnet: classes, in the original image's space; label: at the label's size, without projection; "
            "farl: logits, in the original image's space; segface: logits, on a 512 x 512 square. "
            "Several, separated by commas or each with its own --protocol, share the network's work.",
        ),
    ] = ["eagrnet"],  # noqa: B006 (Typer copies it)
    tta: Annotated[
        str | None,
        typer.Option(
            metavar="flip,scales",
            help="Average the probabilities of several views: crop and mirror image, the crop at several sizes.",
        ),
    ] = None,
    tta_scales: Annotated[
        str | None,
        typer.Option(metavar="FACTORS", help="Crop sizes for --tta scales, as factors. Default: 0.75,1,1.25."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="More groups of the photographs: a column id or image, then columns such as sex or age. Skin colour, "
            "turn of the head and face size are always there.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for report.html, scores.json, images.csv. Default: eval/ by the checkpoint."
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help="Resamples of the images for intervals and p-values; 0 leaves them out.")
    ] = 1000,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images to show.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else.")] = False,
    gpus: Gpus = None,
    device: Device = None,
    batch_size: BatchSize = None,
    input_size: InputSize = None,
    label_set: LabelSetName = None,
    num_classes: NumClasses = None,
    mapping: MappingFile = None,
) -> None:
    """Score checkpoints on a dataset. F1, IoU and boundary F1 with intervals go to a report and to each MLflow run."""
    from faceparse.commands.console import err, out, print_table, silent_libraries, track
    from faceparse.core.load import load_model_from
    from faceparse.core.machine.device import resolve_device
    from faceparse.core.scoring.evaluation import run_evaluations
    from faceparse.core.scoring.plain_data import comparison_dict, evaluation_dict
    from faceparse.core.scoring.score_model import plan_evaluations
    from faceparse.core.scoring.tta import resolve_augmentation

    silent_libraries()
    size, augmentation = parse_size(input_size), resolve_augmentation(tta, tta_scales)
    plans = plan_evaluations(
        [load_model_from(checkpoint, trust=trust) for checkpoint in checkpoints],
        data_dir=data_dir,
        split=split,
        protocols=protocol,
        input_size=size,
        dataset=label_set,
        num_classes=num_classes,
        augmentation=augmentation,
        mapping=mapping,
    )
    for plan in plans:
        tell_terms(plan.model.address)
    outcome = run_evaluations(
        plans,
        device=resolve_device(device_name(gpus, device) or "auto"),
        output=output,
        batch_size=batch_size,
        resamples=bootstrap,
        worst=worst,
        groups=groups,
        warn=lambda text: err.print(f"warning: {text}", markup=False),
        track=track,
    )
    for note in dict.fromkeys(note for plan in plans for note in plan.notes):
        err.print(f"note: {note}", markup=False)
    comparison, (first, *_) = outcome.comparison, outcome.evaluations
    if as_json:
        print(json.dumps(evaluation_dict(first) if comparison is None else comparison_dict(comparison)))
        return
    if comparison is None:
        print_table(_table(first))
        for name, summary in first.summaries.items():
            print_table(_gaps_table(summary, name))
    else:
        _show_comparison(comparison)
    if scarce := next(iter(first.summaries.values())).scarce:  # pixels of the first protocol
        out.print(f"note: {first.dataset.name} {first.split}: {scarce}", markup=False)
    out.print(f"report: {outcome.report}")
    for run in dict.fromkeys(outcome.runs):
        out.print(f"logged to MLflow run {run}")


def _table(evaluation: "Evaluation") -> Any:
    """Table of all scores under one protocol, or of F1 under several protocols."""
    summaries = evaluation.summaries
    title = f"{evaluation.dataset.name} {evaluation.split}, {len(evaluation.ids)} images, "
    if len(summaries) > 1:
        return _by_protocol(summaries, f"{title}F1 % by protocol")
    ((protocol, summary),) = summaries.items()
    return _one_protocol(summary, f"{title}protocol {protocol}")


def _one_protocol(summary: "Summary", title: str) -> Any:
    from faceparse.core.scoring.report import range_phrase
    from faceparse.core.scoring.scores import AT, percent

    table = _new_table(title, "F1 %", "95 %", "IoU %", *(f"bF1 {pixels}px" for pixels in AT))
    scores = summary.scores

    def add(row: str, f1: str, *others: str) -> None:
        cells = [percent(scores.get(f1)), range_phrase(summary.intervals.get(f1))]
        table.add_row(row, *cells, *(percent(scores.get(other)) for other in others))

    for name in scores.f1:
        add(name, f"f1/{name}", f"iou/{name}", *(f"{at}/{name}" for at in AT.values()))
    table.add_section()
    for name in scores.merged_f1:
        add(f"{name} (merged)", f"f1/{name}")
    table.add_section()
    add("mean, no background", "mean_f1", "mean_iou", *(f"mean_{at}" for at in AT.values()))
    add("pixel accuracy", "pixel_accuracy")
    return table


def _gaps_table(summary: "Summary", protocol: str) -> Any:
    """Table of the largest gap of mean F1 by each grouping. A star marks a gap that chance hardly explains."""
    from faceparse.core.scoring.report import gap_phrases

    table = _new_table(f"largest gaps between groups, mean F1, protocol {protocol}", *_GAPS, first="groups by")
    for name, grouped in summary.groups.items():
        table.add_row(name, *gap_phrases(grouped.gaps.get("mean_f1")))
    return table


def _by_protocol(summaries: "Mapping[str, Summary]", title: str) -> Any:
    from faceparse.core.scoring.report import rows_of
    from faceparse.core.scoring.scores import percent

    table = _new_table(title, *summaries)
    label_set = next(iter(summaries.values())).label_set
    for row in rows_of(label_set):
        table.add_row(row.name, *(percent(summary.scores.get(row.score)) for summary in summaries.values()))
    return table


def _show_comparison(comparison: "Comparison") -> None:
    """Print the first checkpoint beside all others, or beside one at a time where the terminal is too narrow."""
    from faceparse.commands.console import out, print_table, table_width

    for number, name in enumerate(comparison.names):
        out.print(f"{_letter(number)}: {name}")
    others = range(1, len(comparison.names))
    for protocol in comparison.evaluations[0].summaries:
        table = _comparison_table(comparison, protocol, others)
        if out.is_terminal and table_width(table) > out.width:
            for other in others:
                print_table(_comparison_table(comparison, protocol, [other]))
        else:
            print_table(table)


def _letter(number: int) -> str:
    """Letter that stands for a checkpoint: its name is too long for a column's heading."""
    return chr(ord("A") + number) if number < 26 else f"#{number + 1}"


def _comparison_table(comparison: "Comparison", protocol: str, others: "Sequence[int]") -> Any:
    """Table of F1 and differences. A star marks a difference that chance hardly explains."""
    from faceparse.core.scoring.report import difference_phrase, difference_range, p_phrase, rows_of
    from faceparse.core.scoring.scores import percent

    first = comparison.evaluations[0]
    title = f"{first.dataset.name} {first.split}, {len(first.ids)} images, F1 %, protocol {protocol}"
    headings = [heading for other in others for heading in (_letter(other), "diff", "95 %", "p")]
    table = _new_table(title, _letter(0), *headings)
    for row in rows_of(first.label_set):
        cells = [percent(first.summaries[protocol].scores.get(row.score))]
        for other in others:
            one = comparison.differences[protocol][other - 1][row.score]
            cells.append(percent(comparison.evaluations[other].summaries[protocol].scores.get(row.score)))
            cells += [difference_phrase(one), difference_range(one), p_phrase(one)]
        table.add_row(row.name, *cells)
    return table


def _new_table(title: str, *headings: str, first: str = "class") -> Any:
    from rich import box

    from faceparse.commands.console import number_table

    style = {"box": box.SIMPLE_HEAD, "pad_edge": False, "collapse_padding": True}
    return number_table(title, first, *headings, no_wrap=True, **style)
