"""Refuse requests from other pages. Other sites in the same browser can reach 127.0.0.1, too."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine. Any port is allowed: behind an SSH tunnel it is another one.

A site whose own name points here (DNS rebinding) asks by that name, and is refused."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer: nothing is cached, embedded elsewhere, or passed on."""


class Guard:
    """An application that answers only its own page, with headers that keep its answers private."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it with status 403."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        problem = _problem(scope["method"], Headers(scope=scope))
        answer = JSONResponse({"error": problem}, 403) if problem else self._application
        await answer(scope, receive, send_with_headers)


def _problem(method: str, headers: Headers) -> str | None:
    host = headers.get("host", "")
    if host.partition(":")[0] not in HOSTS:
        return "this server answers to 127.0.0.1 and localhost alone"
    if method not in ("GET", "HEAD") and headers.get("origin") != f"http://{host}":
        return "only this server's own page may send photographs"
    return None
