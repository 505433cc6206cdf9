"""What a page may send: one photograph, of a bounded size, known by its content."""

import asyncio
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request

from faceparse.core.errors import DatasetError, FaceparseError
from faceparse.core.images.opening import check_pixels, has_known_kind
from faceparse.core.images.pictures import Picture, decode_picture

MAX_BYTES = 25_000_000
"""Of a photograph as a file: more than cameras' JPEGs have."""
READ_SECONDS = 60.0
"""For a photograph to arrive in: a sender that dawdles must not keep its place for ever."""

SHOWN_ALIKE = ("JPEG", "MPO", "PNG", "BMP")
"""Those that browsers show as the model sees them; MPO is a JPEG with more behind it. Browsers overlook the orientation
in a WebP's EXIF, and read no TIFF."""


class Upload(NamedTuple):
    """A photograph that was sent."""

    picture: Picture
    shown_alike: bool
    """Whether a browser shows the file as this very picture."""


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


def read_upload(data: bytes, where: str) -> Upload:
    """Kind and size are read off the header, by the content, before anything is decoded.

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
