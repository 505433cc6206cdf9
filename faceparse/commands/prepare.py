"""faceparse prepare SOURCE RAW_DIR OUT_DIR"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceparse.commands.options import Processes

if TYPE_CHECKING:
    from faceparse.core.datasets.source import Source

app = typer.Typer(
    help="Turn a raw dataset into the canonical layout: images/, labels/ and the lists of train, val and test.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RawDir = Annotated[Path, typer.Argument(help="The raw dataset as it was downloaded.")]
OutDir = Annotated[Path, typer.Argument(help="Dataset folder to write.")]
Val = Annotated[float, typer.Option(min=0, max=0.9, help="Share of photographs for val.")]
Test = Annotated[float, typer.Option(min=0, max=0.9, help="Share of photographs for test.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]


@app.command()
def fasseg(raw_dir: RawDir, out_dir: OutDir, processes: Processes = None) -> None:
    """FASSEG frontal02 (V2): 12 train, 2 val, 50 test; photographs of train that stand in test are left out."""
    from faceparse.core.datasets.fasseg import Fasseg

    _prepare(Fasseg(raw_dir), out_dir, processes)


@app.command()
def folder(
    raw_dir: RawDir,
    out_dir: OutDir,
    label_set: Annotated[str, typer.Option("--label-set", help="What the labels mean: a built-in set or a TOML file.")],
    images: Annotated[str, typer.Option(help="Images, by a pattern with one '*'.")] = "images/*",
    labels: Annotated[str, typer.Option(help="Label pictures; '*' stands for the image's name.")] = "labels/*.png",
    val: Val = 0.1,
    test: Test = 0.1,
    seed: Seed = 0,
    processes: Processes = None,
) -> None:
    """Images and label pictures of your own. Labels: class ids, palette PNGs, or the label set's colours."""
    from faceparse.core.datasets.folder import Folder
    from faceparse.core.labels import get_label_set

    source = Folder(
        raw_dir, label_set=get_label_set(label_set), images=images, labels=labels, val=val, test=test, seed=seed
    )
    _prepare(source, out_dir, processes)


@app.command()
def synthetic(
    out_dir: OutDir,
    count: Annotated[int, typer.Option(min=3, help="Faces.")] = 200,
    size: Annotated[int, typer.Option(min=32, max=2048, help="Side of an image in pixels.")] = 256,
    val: Val = 0.1,
    test: Test = 0.2,
    seed: Seed = 0,
    processes: Processes = None,
) -> None:
    """Procedural faces with Helen's 11 classes; nothing to download, byte-identical for a seed."""
    from faceparse.core.datasets.synthetic import Synthetic

    _prepare(Synthetic(count=count, size=size, seed=seed, val=val, test=test), out_dir, processes)


def _prepare(source: "Source", out_dir: Path, processes: int | None) -> None:
    from faceparse.commands.console import out, track
    from faceparse.core.datasets.source import prepare
    from faceparse.core.parallel import default_processes

    report = prepare(source, out_dir, processes=processes or default_processes(), track=track)
    counts = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    out.print(f"{out_dir}: {counts}; {len(source.label_set)} classes of {source.label_set.name}")
    out.print(f"next: faceparse edges {out_dir} && faceparse check {out_dir}")
