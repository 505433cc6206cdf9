"""The requests of the page that labels photographs.

- `GET /`: the page.
- `GET /photographs`: all photographs, and what is known of them.
- `GET /photographs/KEY`: the guess and the label of one, as JSON. `GET /photographs/KEY/picture`: the photograph.
- `POST /photographs/KEY?version=&base=&seconds=`: save a label. The body is its class ids, deflated.
"""

import asyncio
import json
import zlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from faceparse.core.api import FaceParser
from faceparse.core.errors import DatasetError, FaceparseError, OutputError
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.labelling.label_folder import Photograph
from faceparse.core.labelling.labelling import ChangedError, Labelling
from faceparse.core.web.application import as_text, refuse
from faceparse.core.web.guard import Guard
from faceparse.core.web.label_page import label_page
from faceparse.core.web.page import content_security_policy
from faceparse.core.web.uploads import SHOWN_ALIKE, read_body

MAX_SECONDS = 86_400
"""Most seconds of work in one save: a day."""


def label_application(labelling: Labelling, parser: FaceParser, name: str) -> ASGIApp:
    """Application that serves the page for a folder. `name` is shown as the model's name."""
    page = label_page(parser, name)
    policy = {"Content-Security-Policy": content_security_policy(page)}

    async def show(_request: Request) -> Response:
        return HTMLResponse(page, headers=policy)

    desk = _Desk(labelling)
    routes = [
        Route("/", show),
        Route("/photographs", desk.overview),
        Route("/photographs/{key}", desk.open, methods=["GET"]),
        Route("/photographs/{key}", desk.save, methods=["POST"]),
        Route("/photographs/{key}/picture", desk.picture),
    ]
    handlers: Any = {HTTPException: refuse, FaceparseError: _explain}
    return Guard(Starlette(routes=routes, exception_handlers=handlers))


async def _explain(_request: Request, error: Exception) -> Response:
    if isinstance(error, ChangedError):
        return _json({"error": str(error), "base": error.base}, HTTPStatus.CONFLICT)
    kinds = {DatasetError: HTTPStatus.UNPROCESSABLE_ENTITY, OutputError: HTTPStatus.INSUFFICIENT_STORAGE}
    status = next((kinds[kind] for kind in kinds if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    return _json({"error": str(error)}, status)


def _json(content: object, status: int = HTTPStatus.OK) -> Response:
    """Answer in plain ASCII: a file's name may hold what is no UTF-8."""
    return Response(json.dumps(content), status, media_type="application/json")


class _Desk:
    """Answers one request for a photograph at a time, in a thread, so that only one is in memory."""

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        self._turn = asyncio.Lock()

    async def overview(self, _request: Request) -> Response:
        described = [self._describe(photograph) for photograph in self._labelling.photographs]
        return _json({"notes": self._labelling.notes, "photographs": described})

    async def open(self, request: Request) -> Response:
        return await self._answer(self._open, self._asked(request))

    async def picture(self, request: Request) -> Response:
        return await self._answer(self._picture, self._asked(request))

    async def save(self, request: Request) -> Response:
        photograph, query = self._asked(request), request.query_params
        seconds = query.get("seconds", "")
        if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 6 and int(seconds) <= MAX_SECONDS):
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"seconds: a whole number up to {MAX_SECONDS}")
        try:
            packed = await read_body(request, photograph.name)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it

        def write() -> Response:
            saved = self._labelling.save(
                photograph,
                packed,
                version=query.get("version", ""),
                base=query.get("base", ""),
                seconds=int(seconds),
            )
            return _json({"base": saved.base, "notice": saved.notice, "photograph": self._describe(photograph)})

        return await self._answer(write)

    def _asked(self, request: Request) -> Photograph:
        try:
            return self._labelling.photograph(request.path_params["key"])
        except KeyError:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, "no such photograph in this folder any more; reload the page"
            ) from None

    async def _answer(self, work: Callable[..., Response], *arguments: object) -> Response:
        async with self._turn:
            return await run_in_threadpool(work, *arguments)

    def _describe(self, photograph: Photograph) -> dict[str, object]:
        state, row = self._labelling.states[photograph.key], self._labelling.row(photograph)
        counted = {"pixels": row.pixels, "corrected": row.corrected, "seconds": row.seconds} if row else {}
        return {
            "key": photograph.key,
            "name": photograph.name,
            "labelled": state.labelled,
            "uncertainty": state.uncertainty,
            "problem": state.problem,
            **counted,
        }

    def _open(self, photograph: Photograph) -> Response:
        opened = self._labelling.open(photograph)
        height, width = opened.guess.shape
        answer: dict[str, object] = {
            "width": width,
            "height": height,
            "guess": _packed(opened.guess),
            "label": None if opened.label is None else _packed(opened.label),
            "version": opened.version,
            "base": opened.base,
            "notice": opened.notice,
        }
        return _json(answer)

    def _picture(self, photograph: Photograph) -> Response:
        """Answer the file itself where browsers show it as the model sees it, upright; else as a JPEG."""
        data, picture = self._labelling.picture(photograph)
        alike = picture.kind in SHOWN_ALIKE and picture.frames == 1
        return Response(data if alike else encode_jpeg(picture.image), media_type="application/octet-stream")


def _packed(ids: np.ndarray) -> str:
    return as_text(zlib.compress(np.ascontiguousarray(ids).data, level=1))
