"""Serve an application to this machine only."""

import errno
import socket

import uvicorn
from starlette.types import ASGIApp

from faceparse.core.errors import ResourceError

ADDRESS = "127.0.0.1"
GRACE_SECONDS = 3
"""Seconds that open answers get after a signal. A photograph in work is finished first."""


def listen(port: int) -> socket.socket:
    """Open a socket on this machine's own address; port 0 takes a free one. Clients wait until it is served.

    Raises:
        ResourceError: the port is taken, or we may not use it.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a server can be started again at once
    try:
        listening.bind((ADDRESS, port))
        listening.listen()
    except OSError as error:
        listening.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror or error})"
        raise ResourceError(f"port {port} {reason}; choose another one with --port") from None
    return listening


def url(listening: socket.socket) -> str:
    """Address of the page."""
    return f"http://{ADDRESS}:{listening.getsockname()[1]}"


def serve(application: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until a signal comes.

    Raises:
        KeyboardInterrupt: the signal was Ctrl-C.
    """
    server(application).run(sockets=[listening])


def server(application: ASGIApp) -> uvicorn.Server:
    """Server without log lines. It ignores the headers of proxies: there are none."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    )
