"""Requests to a model server and its answers: encoded photographs in, label maps as JSON out."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.faces.choose_finder import AUTO, NONE
from faceparse.core.faces.face import Finder
from faceparse.core.faces.own_finder import own_finder
from faceparse.core.images.palette import encode_palette_png
from faceparse.core.images.read_photograph import decode_picture
from faceparse.core.runtime.onnx_model import OnnxModel
from faceparse.core.runtime.parse_picture import parse_picture


def answer(model: OnnxModel, photographs: Sequence[object], faces: str = AUTO) -> list[dict[str, Any]]:
    """Parse photographs of any size. Return one table for each.

    - `labels`: an indexed PNG of the photograph's size, as base64.
    - `classes`: names; the position is the id.
    - `areas`: class -> pixels, for the classes that occur.
    - `notice`: what users should know about the file, such as that it is an animation; mostly empty.
    - `faces`: box, score and points of each face; None where the photograph was parsed as a whole.

    Photographs are parsed one at a time: the answer to one does not depend on the others, and memory is bounded.

        answer(open_onnx(path), [Path("photo.jpg").read_bytes()])[0]["areas"]

    Args:
        photographs: bytes of picture files, or their base64.
        faces: `auto` parses each face that the model finds, or the whole photograph where the training pictures were
            not aligned; `none` parses the whole photograph.

    Raises:
        DatasetError: a photograph is no picture, or too large.
        SettingsError: `faces` is something else.
    """
    if faces not in (AUTO, NONE):
        raise SettingsError(f"faces = {faces!r}: write auto or none")
    finder = own_finder(model, model.geometry, model.label_set) if faces == AUTO else None
    return [_parse(model, finder, photograph, f"image {number}") for number, photograph in enumerate(photographs)]


def _parse(model: OnnxModel, finder: Finder | None, photograph: object, where: str) -> dict[str, Any]:
    picture, label_set = decode_picture(_content(photograph, where), where), model.label_set
    parsed, faces = parse_picture(model, finder, picture.image, where, clear=picture.clear)
    labels = parsed.label
    return {
        "labels": base64.b64encode(encode_palette_png(labels, label_set.palette())).decode("ascii"),
        "classes": list(label_set.names),
        "areas": label_set.areas(labels),
        "notice": picture.notice,
        "faces": None if faces is None else [face.describe() for face in faces],
    }


def _content(photograph: object, where: str) -> bytes:
    if isinstance(photograph, bytes | bytearray):
        return bytes(photograph)
    if not isinstance(photograph, str):
        raise DatasetError(f"{where}: a {type(photograph).__name__}; give a picture file's bytes, or their base64")
    try:
        return base64.b64decode("".join(photograph.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DatasetError(f"{where}: not base64; give a picture file's bytes in base64") from None
