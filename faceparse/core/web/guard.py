"""Who may ask: pages of this server alone. Other sites that a browser has open can reach 127.0.0.1, too."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine. A site that makes its own name point here (DNS rebinding) asks by that name. Any port will do:
it is another one at the far end of an SSH tunnel."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: kept nowhere, embedded nowhere, told to nobody."""


class Guard:
    """An application that answers only its own page, with headers that keep it to itself."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
