import socket

import httpx2
import pytest

from faceparse.core.errors import ResourceError
from faceparse.core.web.server import listen, url


def test_only_this_machine_is_listened_to() -> None:
    with listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        assert url(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_taken_port_is_one_line() -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} is in use; choose another one with --port"):
            listen(port)
    listen(port).close()  # free again at once


def test_noise_is_answered_and_not_spoken_of(served: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, port = served.removeprefix("http://").split(":")
    with socket.create_connection((name, int(port))) as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    answer = httpx2.get(served)
    assert answer.status_code == 200
    assert "server" not in answer.headers
    assert capfd.readouterr() == ("", "")
