"""What a page may send: one photograph, of a bounded size, known by its content."""

import asyncio
import io
from http import HTTPStatus

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request

from faceparse.core.errors import DatasetError
from faceparse.core.files import DAMAGED, check_pixels, decode_image

MAX_BYTES = 25_000_000
"""Of a photograph as a file. Eight of them at a time are in memory, at most."""
READ_SECONDS = 60.0
"""For a photograph to arrive in: a sender that dawdles must not keep its place for ever."""

KINDS = ("JPEG", "PNG", "WEBP", "BMP")
"""What Pillow calls the pictures that browsers show and the project reads."""


async def read_body(request: Request, where: str) -> bytes:
    """The bytes that were posted. Never more than `MAX_BYTES` of them are kept, whatever length was announced.

    Raises:
        HTTPException: too many, too slowly, or none.
        ClientDisconnect: the sender is gone.
    """
    too_large = HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{where}: more than {MAX_BYTES // 10**6} MB; make it smaller"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise too_large
    except TimeoutError:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, f"{where}: not sent within {READ_SECONDS:.0f} seconds; try again"
        ) from None
    if not body:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{where}: empty; choose a photograph")
    return bytes(body)


def read_upload(data: bytes, where: str) -> np.ndarray:
    """H x W x 3 uint8 RGB, upright. Kind and size are read off the header before anything is decoded.

    Raises:
        HTTPException: another kind of file, too many pixels, or a damaged picture.
    """
    if not _is_picture(data):
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{where}: not a JPEG, PNG, WebP or BMP picture; choose another file"
        )
    try:
        check_pixels(data, where)
    except DatasetError as error:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
    try:
        return decode_image(data, where)
    except DatasetError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None


def _is_picture(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data), formats=KINDS).close()
    except Image.DecompressionBombError:  # a picture it is; its size is another question
        return True
    except DAMAGED:
        return False
    return True
