"""What a server is asked, and what it answers: encoded photographs in, label maps in JSON out."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from faceparse.core.errors import DatasetError
from faceparse.core.files import decode_photograph, encode_palette_png
from faceparse.core.serving.onnx_model import OnnxModel


def answer(model: OnnxModel, photographs: Sequence[object]) -> list[dict[str, Any]]:
    """For each photograph, of any size, its `labels` (an indexed PNG of that size, as base64), `classes` (names; the
    position is the id) and `areas` (class -> pixels, for the classes that are there).

    One at a time: the label maps do not depend on what else is asked, and memory is bounded.

    Args:
        photographs: bytes of picture files, or their base64.

    Raises:
        DatasetError: one is no picture, or too large.
    """
    return [_parse(model, photograph, f"image {number}") for number, photograph in enumerate(photographs)]


def _parse(model: OnnxModel, photograph: object, where: str) -> dict[str, Any]:
    label_set = model.label_set
    labels = model.parse(decode_photograph(_content(photograph, where), where))
    return {
        "labels": base64.b64encode(encode_palette_png(labels, label_set.palette())).decode("ascii"),
        "classes": list(label_set.names),
        "areas": label_set.areas(labels),
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
