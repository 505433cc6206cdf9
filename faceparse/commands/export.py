"""The command `faceparse export CHECKPOINT`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceparse.commands.model import tell_terms
from faceparse.commands.options import TRAINED, DataDir, InputSize, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faceparse.core.export.export import Exporter, ExportReport
    from faceparse.core.export.targets import Report
    from faceparse.core.parser.trained import Network, TrainedModel
    from faceparse.core.scoring.scores import Scores
    from faceparse.core.scoring.split import Split


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help=f"{TRAINED} It has to hold PyTorch weights, or to be imported: other graphs are exported already."
        ),
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx, onnx-fp16, onnx-int8, openvino, openvino-fp16, openvino-int8, torchscript, pt2, safetensors "
            "(weights in float16), safetensors-fp32, browser (a folder with a page that runs the model, in float16), "
            "browser-int8, browser-fp32; several separated by commas.",
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write, or the folder of a page; for several formats, their folder. Default: beside the "
            "checkpoint.",
        ),
    ] = None,
    preprocessing: Annotated[
        bool, typer.Option("--preprocessing", help="All inside the graph: uint8 RGB crop in, uint8 label map out.")
    ] = False,
    opset: Annotated[
        int | None,
        typer.Option(
            help="Version of ONNX's operators in ONNX files, for an older runtime. Default: PyTorch's choice."
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="bisenet",
            help="bisenet: input, output and class order of BiSeNet's face parsing, for programs that were written for "
            "it. Faceparse itself does not read such a file.",
        ),
    ] = None,
    bundle: Annotated[
        bool,
        typer.Option("--bundle", help="A folder with the model, its labels, settings, model card and checksums."),
    ] = False,
    register: Annotated[
        str | None,
        typer.Option(
            "--register",
            metavar="NAME",
            help="Put it into MLflow's model registry: a new version of that name, ready to be served (ONNX formats).",
        ),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(help="Alias of that version. Default: latest, which MLflow itself gives to the newest of a name."),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Terms of use that the file states: a name such as cc-by-4.0, or a sentence. Default: the dataset's, "
            "where they are known."
        ),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            "--onnxruntime-web",
            metavar="PATH",
            help="npm's package onnxruntime-web for browser, as a .tgz or unpacked. Default: npm fetches it.",
        ),
    ] = None,
    data_dir: DataDir = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Split on which F1 is compared: train, val or test. Default: test, or val where there is no test."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Compare F1 on only this many photographs of the split.")
    ] = None,
    max_f1_drop: Annotated[
        float | None,
        typer.Option(
            min=0, help="Refuse a file whose mean F1 is lower than PyTorch's by more than this. Default: 0.01."
        ),
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Time each format and PyTorch on this machine's CPU.")
    ] = False,
    input_size: InputSize = None,
    fixed_size: Annotated[
        bool,
        typer.Option("--fixed-size", help="For crops of one size. Default: light networks take multiples of 32."),
    ] = False,
) -> None:
    """Write the network for other programs. Compares the file with PyTorch first, in numbers and in F1."""
    from faceparse.commands.console import err, out, print_table, silent_libraries, track
    from faceparse.core.errors import SettingsError
    from faceparse.core.export.bisenet import check_label_set, check_layout
    from faceparse.core.export.export import Exporter, ExportReport, check_possible, read_exportable
    from faceparse.core.export.formats import PAGES, resolve_formats
    from faceparse.core.export.targets import check_pages, make_targets

    silent_libraries()
    formats = resolve_formats(format_, preprocessing=preprocessing, opset=opset)
    others = {"--preprocessing": preprocessing, "--bundle": bundle, "--register": register, "--fixed-size": fixed_size}
    for_bisenet = check_layout(layout, formats, others | {"--benchmark": benchmark})
    check_pages(formats, bundle=bundle, web_runtime=onnxruntime_web)
    if alias is not None and register is None:
        raise SettingsError("--alias: is of a registered version; add --register NAME")
    loaded = read_exportable(checkpoint)
    check_possible(loaded, formats, layout)
    if licence is not None:
        loaded = replace(loaded, own_licence=licence)
    if for_bisenet:
        check_label_set(loaded.label_set)
    tell_terms(loaded.address)
    registration = None
    if register is not None:
        from faceparse.core.export.registration import plan_registration  # MLflow takes seconds to import

        def warn(text: str) -> None:
            err.print(f"warning: {text}")

        registration = plan_registration(loaded, register, alias, formats, warn=warn)
    targets = make_targets(formats, for_bisenet=for_bisenet, bundle=bundle, web_runtime=onnxruntime_web)
    exporter = Exporter(
        loaded,
        kind="labels" if preprocessing else "logits",
        input_size=parse_size(input_size),
        fixed_size=fixed_size,
        scored_on=_scored_on(loaded, data_dir, split, limit),
        max_f1_drop=max_f1_drop,
        opset=opset,
        track=track,
    )
    if exporter.scored_on is None:
        where = f"no dataset at {loaded.trained_on}" if loaded.trained_on else "the training's dataset is not known"
        err.print(f"F1 is not compared: {where}; name it with --data-dir")
    reference = "faceparse" if for_bisenet else exporter.reference
    reports: dict[str, Report] = {}
    for target in targets:
        path = target.place(loaded, output, alone=len(targets) == 1)
        err.print(f"exporting {checkpoint} {target.purpose}, then comparing it with {reference} ...")
        reports[target.name] = target.write(exporter, path)
        out.print(_line(reports[target.name], reference))
        if target.name in PAGES:
            err.print(f"to try the page: python -m http.server --bind 127.0.0.1 --directory {path}")
    if loaded.foreign is None and loaded.settings.model.light and not for_bisenet and exporter.graph.why_fixed:
        err.print(f"for crops of one size: {exporter.graph.why_fixed}")
    if exporter.scores is not None and exporter.scored_on is not None:
        print_table(_f1_table(exporter.scored_on, exporter.scores, reports, exporter.reference))
    exported = [report for report in reports.values() if isinstance(report, ExportReport)]
    if registration is not None:
        from faceparse.core.export.registration import register_report

        (report,) = exported
        out.print(f"registered as {register_report(registration, report, exporter.scored_on)} (@{registration.alias})")
    if benchmark:
        err.print("timing ...")
        print_table(_speed_table(exporter, exported))


def _scored_on(
    checkpoint: "TrainedModel", data_dir: Path | None, split: str | None, limit: int | None
) -> "Split | None":
    """Split to compare F1 on. None where nobody named a dataset and the training's dataset is not here."""
    from faceparse.core.scoring.split import find_split, held_out

    root = data_dir or checkpoint.trained_on
    if root is None or (data_dir is None and not root.is_dir()):
        return None
    found = find_split(checkpoint, data_dir=data_dir, split=split or held_out(root))
    return replace(found, samples=found.samples[:limit])


def _line(report: "Report", reference: str) -> str:
    numbers = f", largest difference of a logit {report.difference:.2e}" if report.difference is not None else ""
    same = f"the class of {reference} on {report.agreement:.4%} of pixels{numbers}"
    return f"{report.path}: {report.shapes}, {report.size / 1e6:.1f} MB; {same}"


def _f1_table(split: "Split", expected_scores: "Scores", reports: "Mapping[str, Report]", reference: str) -> Any:
    """Table of each file's F1 by class, with its difference from that of the `reference`."""
    from faceparse.commands.console import number_table
    from faceparse.core.scoring.scores import percent

    files = {name: report.scores for name, report in reports.items() if report.scores is not None}
    title = f"F1 % on {split.root.name} {split.name}, {len(split.samples)} images, and the change from {reference}'s"
    table = number_table(title, "class", reference, *files)

    def add(row: str, name: str) -> None:
        expected = expected_scores.get(name)
        cells = [percent(expected)]
        for scores in files.values():
            value = scores.get(name)
            change = "" if value is None or expected is None else f" ({100 * (value - expected):+.2f})"
            cells.append(percent(value) + change)
        table.add_row(row, *cells)

    for name in expected_scores.f1:
        add(name, f"f1/{name}")
    for name in expected_scores.merged_f1:
        add(f"{name} (merged)", f"f1/{name}")
    table.add_section()
    add("mean without background", "mean_f1")
    return table


def _speed_table(exporter: "Exporter", reports: "Sequence[ExportReport]") -> Any:
    """Time the files and the network that they were made from: a row for each."""
    from faceparse.commands.console import number_table
    from faceparse.core.export.latency import BATCH, measure

    reference = exporter.reference
    networks: dict[str, Network] = {reference: exporter.network}
    networks |= {one.format: one.model.network(exporter.device) for one in reports}
    speeds = measure(networks)
    headings = ("MB", "ms a crop", f"crops a second, {BATCH} at a time", f"times {reference}")
    table = number_table("on this machine's CPU, medians of one run", "format", *headings)
    sizes = {report.format: f"{report.size / 1e6:.1f}" for report in reports}
    throughput = speeds[reference].throughput
    for name, speed in speeds.items():
        ratio = f"{speed.throughput / throughput:.2f}"
        table.add_row(name, sizes.get(name, ""), f"{1000 * speed.latency:.0f}", f"{speed.throughput:.2f}", ratio)
    return table
