"""The program of a bundle, `python run.py photo.jpg`. It needs ONNX Runtime, NumPy and OpenCV alone.

A bundle of an ONNX file carries this module and those that it imports, so what it computes is what faceparse computes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from faceparse.core.errors import FaceparseError, SettingsError
from faceparse.core.faces.geometry import if_consistent, read_geometry
from faceparse.core.faces.own_finder import own_finder
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.images.decoding import decode_plain
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.overlay import overlay
from faceparse.core.labels.classes import PlainClasses
from faceparse.core.runtime.checksums import check_sums
from faceparse.core.runtime.kinds import Kind, PlainNumbers
from faceparse.core.runtime.onnx_model import OnnxModel, check_graph, metadata_of, open_session
from faceparse.core.runtime.parse_picture import parse_picture


def main(bundle: Path, arguments: Sequence[str]) -> int:
    """Parse the photographs that the arguments name, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Parse photographs into NAME-labels.png, whose grey values are class ids, and NAME-overlay.jpg.",
    )
    parser.add_argument("photographs", nargs="+", type=Path, metavar="photo.jpg", help="JPEG, or opaque PNG or BMP")
    parser.add_argument("-o", "--output", type=Path, default=Path(), help="folder for the results; default: this one")
    parser.add_argument("--faces", choices=("auto", "none"), default="auto", help="none: parse photographs as a whole")
    chosen = parser.parse_args(arguments)
    try:
        model = open_trusted(check_sums(bundle))
        make_folder(chosen.output)
        names = [path.stem for path in chosen.photographs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError(f"two photographs are named {twice}; parse them one after the other, with another -o")
    except FaceparseError as error:
        return _fail(error)
    return max(_parse(model, path, chosen.output, find=chosen.faces == "auto") for path in chosen.photographs)


def _parse(model: OnnxModel, path: Path, folder: Path, *, find: bool) -> int:
    finder = own_finder(model, model.geometry, model.label_set) if find else None
    try:
        image = decode_plain(read_bytes(path), str(path))
        parsed, faces = parse_picture(model, finder, image, str(path))
        shown = overlay(image, parsed.label, model.label_set.palette())
        write_atomic(folder / f"{path.stem}-labels.png", encode_png(parsed.label))
        write_atomic(folder / f"{path.stem}-overlay.jpg", encode_jpeg(shown))
    except FaceparseError as error:
        return _fail(error)
    found = "parsed as a whole" if faces is None else f"{len(faces)} face{'s' * (len(faces) != 1)}"
    print(f"{path}: {found}; {', '.join(model.label_set.areas(parsed.label))}")
    return 0


def _fail(error: FaceparseError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def open_trusted(path: Path) -> OnnxModel:
    """Open the ONNX file of one's own bundle. `open_onnx` checks a stranger's file; it needs more packages.

    Raises:
        CheckpointError: the file cannot be run, or its graph is not what its metadata says.
    """
    session = open_session(path)
    stored = metadata_of(session, path)
    said = {key: json.loads(stored[key]) for key in ("label_set", "mean", "std", "input_size", "geometry")}
    classes = said["label_set"]
    label_set = PlainClasses(classes["name"], classes["classes"], classes.get("landmarks", {}))
    kind: Kind = "labels" if stored["kind"] == "labels" else "logits"
    check_graph(session, path, kind, len(label_set))
    height, width = said["input_size"]
    return OnnxModel(
        label_set=label_set,
        geometry=if_consistent(read_geometry(said["geometry"])),
        kind=kind,
        input_size=(height, width),
        sizes="any" if stored["sizes"] == "any" else "fixed",
        fit="stretch" if stored.get("fit") == "stretch" else "crop",
        _batch=int(stored["largest_batch"]) if "largest_batch" in stored else None,
        _where=path,
        _input=PlainNumbers(stored["channel_order"], tuple(said["mean"]), tuple(said["std"])),
        _session=session,
    )
