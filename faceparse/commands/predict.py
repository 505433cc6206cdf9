"""The command `faceparse predict [--model MODEL] INPUT...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceparse.commands.model import Model, split_model, tell_terms
from faceparse.commands.options import (
    BatchSize,
    Column,
    Device,
    Gpus,
    InputSize,
    MappingFile,
    Trust,
    device_name,
    parse_size,
)

if TYPE_CHECKING:
    from faceparse.core.prediction.films import FilmReport
    from faceparse.core.prediction.prediction import PredictReport


def predict(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Photographs, videos, folders of them, patterns such as 'a/**/*.jpg', tars and Parquet files of "
            "photographs; photographs elsewhere, such as s3://bucket/photos; webcam:0; - for a photograph on standard "
            "input. If the first one names a model, it is the --model.",
        ),
    ] = None,
    model: Model = None,
    trust: Trust = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for what is saved.")] = Path("predictions"),
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Search folders within folders, too.")] = False,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from-file", metavar="FILE|-", help="Further inputs, one a line; - reads them from standard input."
        ),
    ] = None,
    column: Column = None,
    save: Annotated[
        str | None,
        typer.Option(
            help="Any of labels, overlays, cutouts, alpha, json, instances, crops, masks, npy, probabilities; for "
            "annotation tools coco, cvat, labelme, labelstudio. Default: labels,overlays; of videos overlays; with "
            "--to, labels. It holds labels and coco, as run lengths."
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="files|parquet|webdataset",
            help="files: some for each photograph. Or parts of up to 512 photographs: parquet/part-*.parquet, a row "
            "each; webdataset/part-*.tar, with the photographs themselves.",
        ),
    ] = "files",
    classes: Annotated[
        str | None,
        typer.Option(
            help="Classes and merged names that cut-outs, alpha and masks are of, such as hair,mouth. Default: no "
            "background."
        ),
    ] = None,
    grow: Annotated[
        str,
        typer.Option(
            metavar="N|N%",
            help="Let cut-outs and masks reach so many pixels, or % of the face's height, beyond their classes; -N "
            "shrinks them.",
        ),
    ] = "0",
    feather: Annotated[
        str,
        typer.Option(
            metavar="N|N%", help="Fade the edge of cut-outs and masks over this width, half of it on each side."
        ),
    ] = "0",
    faces: Annotated[
        str,
        typer.Option(
            metavar="auto|none|yunet.onnx|boxes.json",
            help="auto: each face that the model finds (the whole picture, if its training pictures were not aligned); "
            "none: the whole picture; a file: faces found by OpenCV's YuNet, or given as boxes.",
        ),
    ] = "auto",
    label_set: Annotated[
        str | None,
        typer.Option("--label-set", help="Write the classes of another label set: a built-in name or a TOML file."),
    ] = None,
    mapping: MappingFile = None,
    min_face: Annotated[
        float,
        typer.Option(help="Height of the smallest face that `auto` looks for, as a share of the picture's height."),
    ] = 0.08,
    smooth: Annotated[
        float, typer.Option(help="Share of the earlier frames in a video's averaged probabilities, such as 0.8.")
    ] = 0.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on: pass over photographs that an earlier command parsed.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume, try the photographs in failed.csv again.")
    ] = False,
    with_report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Also write report.html and report.json: photographs to look at, confidence, areas of classes.",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only part I of N, such as 3/16, chosen by the photographs' paths."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|auto|HOST:PORT",
            help="Parse photographs on a Ray cluster: one made of this machine, the one that this machine is in, or "
            "the one with that head.",
        ),
    ] = None,
    ray_actors: Annotated[
        int | None,
        typer.Option(
            "--ray-actors",
            min=1,
            help="Copies of the model in the cluster. Default: one a GPU; without GPUs, as many as there is room for.",
        ),
    ] = None,
    ray_threads: Annotated[
        int | None, typer.Option("--ray-threads", min=1, help="Threads of each copy of the model. Default: 1.")
    ] = None,
    gpus: Gpus = None,
    device: Device = None,
    batch_size: BatchSize = None,
    input_size: InputSize = None,
) -> None:
    """Parse photographs, videos and cameras. Writes label maps, overlays, cut-outs, soft masks, polygons, class areas.

    Photographs: labels/NAME.png (ids, with a palette), overlays/NAME.jpg, cutouts/NAME.png, alpha/NAME.png (grey),
    json/NAME.json, instances/NAME.png (number of each pixel's face), crops/NAME/0.jpg, .png, .npy (aligned photograph,
    labels, matrix), masks/NAME/CLASS.png, npy/NAME.npy (ids), probabilities/NAME.npy (C x H x W float16). Annotation
    tools import coco.json, cvat.xml, labelme/NAME.json, labelstudio.json. Videos: overlays/NAME.mp4 with the sound,
    labels/NAME/000000.png, cutouts/... and alpha/... alike, json/NAME.json.
    """
    import sys

    from faceparse.commands.console import err, silent_libraries, track
    from faceparse.core.errors import SettingsError
    from faceparse.core.export.model_bytes import model_bytes
    from faceparse.core.files.reading import read_bytes
    from faceparse.core.load import load_model_from
    from faceparse.core.parser.inference import load_parser
    from faceparse.core.parser.mapped import in_classes
    from faceparse.core.prediction.inputs import STDIN, read_list
    from faceparse.core.prediction.made_with import origin_of
    from faceparse.core.prediction.prediction import plan_prediction
    from faceparse.core.prediction.ray_photographs import RayPool
    from faceparse.core.text.patterns import some

    silent_libraries()
    if ray is None and (ray_actors or ray_threads):
        raise SettingsError("--ray-actors and --ray-threads are for --ray; add --ray local, auto or HOST:PORT")
    if ray is not None and gpus is not None:
        raise SettingsError("--gpus: with --ray, Ray gives each copy of the model a GPU of its own; leave it out")
    name, typed = split_model(model, inputs or [])
    if from_file is not None:
        listed = sys.stdin.buffer.read() if str(from_file) == STDIN else read_bytes(from_file, pipes=True)
        typed += read_list(listed, "stdin" if str(from_file) == STDIN else str(from_file))
    if not typed:
        raise SettingsError("nothing to parse; name photographs, videos or folders, or a --from-file list of them")
    loaded = in_classes(load_model_from(name, trust=trust), label_set, mapping)
    tell_terms(loaded.address)
    plan = plan_prediction(
        typed,
        output,
        label_set=loaded.label_set,
        model=loaded.address or name,
        recursive=recursive,
        save=save,
        classes=classes,
        faces=faces,
        min_face=min_face,
        smooth=smooth,
        grow=grow,
        feather=feather,
        to=to,
        shard=shard,
        resume=resume,
        retry_failed=retry_failed,
        report=with_report,
        stdin=sys.stdin.buffer.read,
        column=column,
    )
    where, size = device_name(gpus, device) or "auto", parse_size(input_size)
    pool = None
    if ray is not None:
        copy = model_bytes(loaded, trust=trust)
        pool = RayPool(ray, copy.opened, ray_actors, ray_threads or 1, device=where, input_size=size)
    parser = load_parser(loaded, loaded.device(where if pool is None else "cpu"), size)
    report = plan.run(
        parser,
        geometry=loaded.geometry,
        part_classes=loaded.part_classes,
        origin=origin_of(loaded),
        batch_size=batch_size or 4,
        pool=pool,
        track=track,
        tell=err.print,
    )
    for notice in loaded.notes:
        err.print(f"note: {notice}", markup=False)
    if plan.inputs.passed_over:
        err.print(f"passed over, being no photographs or videos: {some(plan.inputs.passed_over)}")
    _show(report, output)
    if report.left_out or any(film.problem for film in report.films):
        raise typer.Exit(1)


def _show(report: "PredictReport", output: Path) -> None:
    """Print what was found and done."""
    from faceparse.commands.console import err, out

    for notice in report.notices:
        err.print(f"note: {notice}")
    for where in report.faceless:
        err.print(f"no face: {where}")
    for problem in report.broken:
        err.print(f"left out: {problem}")
    for film in report.films:
        if film.problem:
            err.print(f"cut short: {film.where}: {film.problem}; what could be read is parsed")
        out.print(f"{film.where}: {film.frames} frames, {film.frames / film.seconds:.1f}/s{_flicker(film)}")
    done = report.photographs + len(report.films)
    faceless = (
        f", {len(report.faceless)} without a face (--faces none parses whole pictures)" if report.faceless else ""
    )
    before = f", {report.before} before" if report.before else ""
    listed = f" (see {report.failed})" if report.failed else ""
    broken = f", {report.left_out} left out{listed}" if report.left_out else ""
    if report.page is not None:
        out.print(f"report: {report.page}")
    out.print(f"{output}: {done} parsed{before}{faceless}{broken}")


def _flicker(film: "FilmReport") -> str:
    """Phrase for the share of still pixels whose class changes; empty where nothing was measured."""
    if film.flicker is None:
        return ""
    smoothed = "" if film.smoothed_flicker is None else f", {film.smoothed_flicker:.2%} smoothed"
    return f", flicker {film.flicker:.2%}{smoothed}"
