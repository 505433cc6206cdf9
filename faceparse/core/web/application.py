"""The page and its requests: `GET /` and `POST /parse`."""

import asyncio
import base64
import json
import time
import zlib
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from faceparse.core.api import FaceParser
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.palette import encode_palette_png
from faceparse.core.web.guard import Guard
from faceparse.core.web.page import content_security_policy, web_page
from faceparse.core.web.uploads import read_body, read_upload

MAX_WAITING = 8
"""Most photographs at a time that arrive, wait or are computed."""


def web_application(parser: FaceParser, name: str) -> ASGIApp:
    """Application that serves the page for `parser`. `name` is shown as the model's name. No photograph is kept."""
    page = web_page(parser, name)
    policy = {"Content-Security-Policy": content_security_policy(page)}

    async def show(_request: Request) -> Response:
        return HTMLResponse(page, headers=policy)

    routes = [Route("/", show), Route("/parse", _Desk(parser).parse, methods=["POST"])]
    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: refuse}))


async def refuse(_request: Request, error: Exception) -> Response:
    """Answer a refusal: its status, and its line as JSON."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


class _Desk:
    """Takes photographs and parses them one at a time, in a thread. The page still gets answers meanwhile."""

    def __init__(self, parser: FaceParser) -> None:
        self._parser = parser
        self._waiting = 0
        self._turn = asyncio.Lock()

    async def parse(self, request: Request) -> Response:
        if self._waiting >= MAX_WAITING:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_WAITING} photographs are waiting already; try again in a moment",
                headers={"Retry-After": "1"},
            )
        self._waiting += 1
        try:
            return await self._parse(request)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it
        except HTTPException:
            raise
        except Exception as error:  # a model or its device may raise any error; the server goes on
            line = " ".join(str(error).split())[:300]
            raise HTTPException(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"the model failed: {type(error).__name__}: {line}"
            ) from error
        finally:
            self._waiting -= 1

    async def _parse(self, request: Request) -> Response:
        where = " ".join(request.query_params.get("name", "").split())[:200] or "photograph"
        data = await read_body(request, where)
        async with self._turn:
            if await request.is_disconnected():
                raise ClientDisconnect
            answer = await run_in_threadpool(self._compute, data, where)
        return Response(answer, media_type="application/json")

    def _compute(self, data: bytes, where: str) -> bytes:
        """Parse a photograph, and return the answer as JSON.

        - `faces`: how many were found; null where the photograph was parsed as a whole.
        - `notice`: what users should know about the file; mostly empty.
        - `ids`: H x W class ids, deflated.
        - `picture`: the photograph as it was parsed, where a browser would show the file differently; else null.
        """
        picture, shown_alike = read_upload(data, where)
        started = time.perf_counter()
        result = self._parser.predict(picture)
        milliseconds = round(1000 * (time.perf_counter() - started))
        height, width = result.labels.shape
        answer = {
            "width": width,
            "height": height,
            "milliseconds": milliseconds,
            "areas": result.areas(),
            "notice": picture.notice,
            "faces": None if result.faces is None else len(result.faces),
            "labels": as_text(encode_palette_png(result.labels, result.label_set.palette())),
            "ids": as_text(zlib.compress(result.labels.data, level=1)),
            "picture": None if shown_alike else as_text(encode_png(picture.own)),
        }
        return json.dumps(answer).encode()


def as_text(data: bytes) -> str:
    """Bytes as a text that JSON can hold, in base64."""
    return base64.b64encode(data).decode()
