"""The command `faceparse prepare SOURCE RAW_DIR OUT_DIR`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceparse.commands.options import MappingFile, Processes

if TYPE_CHECKING:
    from faceparse.core.datasets.prepare_report import PrepareReport

app = typer.Typer(
    help="Turn a raw dataset into the canonical layout. That is images/, labels/ and the lists of train, val and test. "
    "After an interruption, the same command goes on where it stopped.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RawDir = Annotated[Path, typer.Argument(help="The raw dataset as it was downloaded: its folder, or its zip or tar.")]
OutDir = Annotated[Path, typer.Argument(help="Dataset folder to write.")]
LabelSetName = Annotated[str, typer.Option("--label-set", help="What the labels mean: a built-in set or a TOML file.")]
Val = Annotated[float, typer.Option(min=0, max=0.9, help="Share of photographs for val.")]
Test = Annotated[float, typer.Option(min=0, max=0.9, help="Share of photographs for test.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]


Align = Annotated[
    str,
    typer.Option(
        help="Five points that faces are aligned by: landmarks (files), labels (the label map), auto "
        "(landmarks where there are files, else labels) or none."
    ),
]
Size = Annotated[int | None, typer.Option(min=32, max=4096, help="Side of an aligned image in pixels. Default: 473.")]
Template = Annotated[
    str | None, typer.Option(help="Where the points go: farl (the default), or a TOML file with size and points.")
]
OnMissing = Annotated[
    str | None,
    typer.Option(
        "--on-missing", help="Faces without usable points: identity (as they are, the default), skip or fail."
    ),
]
To = Annotated[
    str, typer.Option(help="files, or a few large shards: webdataset (tar) or parquet; edge maps lie in these, too.")
]
MOST_LEFT_OUT = 100
"""Photographs left out of which each gets a line."""


@app.command()
def helen(
    raw_dir: RawDir,
    out_dir: OutDir,
    align: Align = "auto",
    size: Size = None,
    template: Template = None,
    on_missing: OnMissing = None,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """Helen (Smith et al.): soft maps, official lists. Aligned by points/ if there is one, else by the labels."""
    options = {"align": align, "size": size, "template": template, "on_missing": on_missing, "to": to}
    _prepare("helen", raw_dir, out_dir, processes, options)


@app.command()
def lapa(
    raw_dir: RawDir,
    out_dir: OutDir,
    align: Align = "none",
    size: Size = None,
    template: Template = None,
    on_missing: OnMissing = None,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """LaPa: official splits. Not aligned unless you ask for it, as in the paper; it has 106 landmarks per face."""
    options = {"align": align, "size": size, "template": template, "on_missing": on_missing, "to": to}
    _prepare("lapa", raw_dir, out_dir, processes, options)


@app.command("celebamask-hq")
def celebamask_hq(
    raw_dir: RawDir,
    out_dir: OutDir,
    align: Align = "none",
    size: Size = None,
    template: Template = None,
    on_missing: OnMissing = None,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """CelebAMask-HQ: part masks; CelebA's official split, found by the mapping file. Its faces are aligned already."""
    options = {"align": align, "size": size, "template": template, "on_missing": on_missing, "to": to}
    _prepare("celebamask-hq", raw_dir, out_dir, processes, options)


@app.command()
def ibugmask(
    raw_dir: RawDir,
    out_dir: OutDir,
    label_set: LabelSetName = "ibugmask",
    val: Val = 0.05,
    seed: Seed = 0,
    align: Align = "auto",
    size: Size = None,
    template: Template = None,
    on_missing: OnMissing = None,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """iBugMask: faces in the wild, with 11 classes or 14 (--label-set ibugmask-14); a share of train becomes val."""
    options = {"align": align, "size": size, "template": template, "on_missing": on_missing, "to": to}
    splits = {"label_set": label_set, "val": val, "seed": seed}
    _prepare("ibugmask", raw_dir, out_dir, processes, options | splits)


@app.command()
def fasseg(
    raw_dir: RawDir,
    out_dir: OutDir,
    align: Align = "none",
    size: Size = None,
    template: Template = None,
    on_missing: OnMissing = None,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """FASSEG frontal02 (V2): 12 train, 2 val, 50 test; leaves out photographs of train that are in test, too."""
    options = {"align": align, "size": size, "template": template, "on_missing": on_missing, "to": to}
    _prepare("fasseg", raw_dir, out_dir, processes, options)


@app.command()
def folder(
    raw_dir: RawDir,
    out_dir: OutDir,
    label_set: LabelSetName,
    images: Annotated[
        str,
        typer.Option(
            help="Images, by a pattern: '*' is a name, '**' any folders, '{split}' a folder such as train, val or test."
        ),
    ] = "images/*",
    labels: Annotated[
        str,
        typer.Option(
            help="Label pictures, by a pattern in which the same wildcards stand for the same; '{class}' is a class's "
            "name, for one mask a class."
        ),
    ] = "labels/*.png",
    annotations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PATTERN",
            help="In the place of --labels, files of LabelMe, COCO, CVAT for images or Label Studio.",
        ),
    ] = None,
    mapping: MappingFile = None,
    ignored: Annotated[
        str | None, typer.Option(help="Id or colour (#ff00ff) of pixels that do not count, beside 255.")
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The dataset's own splits: a CSV with the columns id and split, or lists such as 'lists/{split}.txt'.",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN|CSV",
            help="Photographs that stay in one split, such as a person's: a pattern of the names such as '{group}_*', "
            "or a CSV with the columns id and group.",
        ),
    ] = None,
    val: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="Share of photographs for val. Default: 0.1, or 0 with splits of its own."),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="Share of photographs for test. Default: 0.1, or 0 with splits of its own."),
    ] = None,
    seed: Seed = 0,
    on_broken: Annotated[
        str,
        typer.Option(
            "--on-broken", help="Photographs that are damaged or have no label: fail, or skip, which leaves them out."
        ),
    ] = "fail",
    align: Align = "none",
    size: Size = None,
    template: Template = None,
    on_missing: OnMissing = None,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """Images and labels of your own: class ids, palette PNGs, the label set's colours, or one mask a class."""
    options = {"align": align, "size": size, "template": template, "on_missing": on_missing, "to": to}
    pairs = {"label_set": label_set, "images": images, "mapping": mapping}
    truth = {"labels": labels, "annotations": annotations, "ignored": ignored}
    chosen = {"splits": splits, "group": group, "val": val, "test": test, "seed": seed, "on_broken": on_broken}
    _prepare("folder", raw_dir, out_dir, processes, options | pairs | truth | chosen)


@app.command()
def synthetic(
    out_dir: OutDir,
    count: Annotated[int, typer.Option(min=3, help="Faces.")] = 200,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Side of an image in pixels.")] = 256,
    val: Val = 0.1,
    test: Test = 0.2,
    seed: Seed = 0,
    to: To = "files",
    processes: Processes = None,
) -> None:
    """Drawn faces with Helen's 11 classes. Nothing to download; the same seed gives the same bytes."""
    options = {"count": count, "size": size, "val": val, "test": test, "seed": seed, "to": to}
    _prepare("synthetic", None, out_dir, processes, options)


@app.command()
def shards(
    dataset_dir: Annotated[Path, typer.Argument(help="A prepared dataset, or shards of one.")],
    out_dir: Annotated[Path, typer.Argument(help="New folder for the shards.")],
    to: Annotated[str, typer.Option(help="webdataset (tar) or parquet.")],
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, help="MiB in a shard, about.")] = 256,
    processes: Processes = None,
) -> None:
    """Pack a prepared dataset into a few large files, which train, check, edges and eval read like the small ones."""
    from faceparse.commands.console import out, track
    from faceparse.core.datasets.pack import pack
    from faceparse.core.machine.parallel import default_processes

    processes = processes or default_processes()
    report = pack(dataset_dir, out_dir, to=to, shard_bytes=shard_size * 2**20, processes=processes, track=track)
    counts = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    out.print(f"{out_dir}: {counts} in {report.shards} shards")
    out.print(f"next: faceparse check {out_dir}")


def _prepare(name: str, raw_dir: Path | None, out_dir: Path, processes: int | None, options: dict[str, Any]) -> None:
    from faceparse.commands.console import err, out, track
    from faceparse.core.datasets.prepare_by_name import FILES, prepare_by_name
    from faceparse.core.datasets.prepare_record import RECORD

    report = prepare_by_name(name, raw_dir, out_dir, options | {"processes": processes}, track=track)
    counts = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    total = sum(report.splits.values())
    left = f"; {len(report.left_out)} left out" if report.left_out else ""
    done = "" if report.done >= total + len(report.left_out) else f", {report.done} prepared now"
    out.print(f"{out_dir}: {counts}; {len(report.label_set)} classes of {report.label_set.name}{left}{done}")
    for line in report.left_out[:MOST_LEFT_OUT]:
        err.print(f"left out: {line}")
    if len(report.left_out) > MOST_LEFT_OUT:
        err.print(f"and {len(report.left_out) - MOST_LEFT_OUT} more left out, see {out_dir / RECORD}")
    for notice in report.notices:
        err.print(f"note: {notice}")
    for one in report.without_points[:10]:
        err.print(f"{one.status}: {one.id}, {one.reason}")
    if len(report.without_points) > 10:
        err.print(f"and {len(report.without_points) - 10} more without usable points, see {out_dir / RECORD}")
    if report.ceiling is not None:
        out.print(_ceiling(report))
    edges = f"faceparse edges {out_dir} && " if options["to"] == FILES else ""
    out.print(f"next: {edges}faceparse check {out_dir}")


def _ceiling(report: "PrepareReport") -> Any:
    """Table of the cost of alignment: a network trained on aligned faces cannot score higher in the original images."""
    from faceparse.commands.console import number_table

    assert report.ceiling is not None
    title = f"ceiling: labels against themselves after the way to the aligned image and back ({report.ceiling_split})"
    table = number_table(title, "class", "F1 %")
    for name, f1 in report.ceiling.items():
        table.add_row(name, f"{100 * f1:.2f}")
    foreground = list(report.ceiling.values())[1:]
    table.add_section()
    table.add_row("mean without background", f"{100 * sum(foreground) / max(len(foreground), 1):.2f}")
    return table
