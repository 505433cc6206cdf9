"""Uploads to the page: one photograph, of limited size, recognised by its content."""

import asyncio
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from faceparse.core.errors import DatasetError, FaceparseError
from faceparse.core.images.opening import check_pixels, has_known_kind
from faceparse.core.images.read_photograph import Picture, decode_picture

MAX_BYTES = 25_000_000
"""Largest photograph as a file. JPEGs from cameras are smaller."""
READ_SECONDS = 60.0
"""Seconds in which a photograph must arrive. A slow sender must not keep its place for ever."""

SHOWN_ALIKE = ("JPEG", "MPO", "PNG", "BMP")
"""Kinds that browsers show as the model sees them. MPO is a JPEG with more behind it.

Browsers ignore the orientation in a WebP's EXIF, and read no TIFF."""


class Upload(NamedTuple):
    """A photograph that was sent."""

    picture: Picture
    shown_alike: bool
    """Whether a browser shows the file as exactly this picture."""


async def read_body(request: Request, where: str) -> bytes:
    """Read the bytes that were posted. At most `MAX_BYTES` are kept, whatever length was announced.

    Raises:
        HTTPException: the body is too large, too slow, or empty.
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


def read_upload(data: bytes, where: str) -> Upload:
    """Check kind and size in the file's header, then decode it.

    Raises:
        HTTPException: too many pixels, another kind of file, or a damaged picture.
    """
    try:
        check_pixels(data, where)
    except DatasetError as error:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error)) from None
    if not has_known_kind(data):
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"{where}: not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture; choose another file",
        )
    try:
        picture = decode_picture(data, where)
        return Upload(picture, picture.kind in SHOWN_ALIKE and picture.frames == 1)
    except FaceparseError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
