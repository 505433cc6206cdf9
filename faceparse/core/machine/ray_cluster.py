"""Joins a Ray cluster, or makes one of this machine. Only this file and `prediction/ray_*.py` import Ray."""

import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faceparse.core.errors import ResourceError, SettingsError, first_line
from faceparse.core.machine.parallel import default_processes

LOCAL, AUTO = "local", "auto"
"""A cluster of this machine alone, for this command; and the cluster that this machine is a part of."""

_HTTP2, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), b"\x04"
"""First bytes of a client of HTTP/2, and so of gRPC; and the kind of frame that the server answers with."""

_CORE_LEVEL = "RAY_BACKEND_LOG_LEVEL"

PATIENCE = 10.0
"""Seconds to wait for a connection to a cluster."""


def check_address(address: str) -> str:
    """Return `--ray` as it was typed: local, auto or HOST:PORT.

    Raises:
        SettingsError: it is none of them.
        ResourceError: Ray is not installed.
    """
    if address.startswith("ray://"):
        raise SettingsError(
            f"--ray {address}: Ray Data needs a process in the cluster; run the command on one of its machines with "
            "--ray auto, or by 'ray job submit'"
        )
    if address not in (LOCAL, AUTO) and not _host_and_port(address):
        raise SettingsError(f"--ray {address}: write local, auto, or HOST:PORT of a cluster's head, such as head:6379")
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ResourceError(
            f"--ray needs Ray ({first_line(error)}): pip install 'ray[data]', or '.[ray]' where faceparse is cloned"
        ) from None
    return address


def _host_and_port(address: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^\s/:@]+):([0-9]{1,5})", address)
    return (found[1].strip("[]"), int(found[2])) if found and 0 < int(found[2]) < 65536 else None


@contextmanager
def joined_ray(address: str) -> Iterator[None]:
    """Join the cluster, and leave it when the block ends; `local` makes one, which ends with the block.

    Raises:
        ResourceError: there is no cluster, or it has other versions of Ray or Python.
    """
    import ray

    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    if address == LOCAL:
        folder = tempfile.mkdtemp(prefix="ray-")  # Ray's own is shared with other users, and stays
        options |= {"include_dashboard": False, "num_cpus": default_processes(), "_temp_dir": folder}
    try:
        if (place := _host_and_port(address)) and os.environ.get("RAY_USE_TLS", "0") == "0":
            _must_answer(address, *place)
        try:
            with _silent_core():
                ray.init(**options)
        except Exception as error:  # of many kinds
            raise ResourceError(_problem(address, error)) from None
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors reach users as one line
        # Ray has no switch for its news of lost processes, which it prints among the command's results.
        vars(ray._private.worker)["print_to_stdstream"] = lambda *_, **__: None
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _silent_core() -> Iterator[None]:
    """Start Ray's core in this block: it does not log to the terminal, where it would say what is no error of users.

    It reads the variable when it starts, and says so on stderr.
    """
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        stderr = os.dup(2)
        before = os.environ.get(_CORE_LEVEL)
        os.environ.setdefault(_CORE_LEVEL, "fatal")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if before is None:
                del os.environ[_CORE_LEVEL]


def _must_answer(address: str, host: str, port: int) -> None:
    """Check that gRPC answers at an address: Ray itself waits for minutes where nothing does."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE) as connection:
            connection.sendall(_HTTP2)
            found = "" if connection.recv(9)[3:4] == _SETTINGS else "something else answers"
    except OSError as error:
        found = first_line(error)
    if found:
        raise ResourceError(
            f"--ray {address}: no cluster there ({found}); 'ray start --head' on its first machine tells one, or "
            "write --ray local"
        )


def _problem(address: str, error: Exception) -> str:
    text = str(error)
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text)
    if "Version mismatch" in text and len(versions) == 2:
        (their_ray, their_python), (our_ray, our_python) = versions
        return (
            f"--ray {address}: the cluster has Ray {their_ray} and Python {their_python}, and this command has Ray "
            f"{our_ray} and Python {our_python}; use the same versions"
        )
    if address == AUTO:
        return (
            "--ray auto: this machine is not part of a running cluster; 'ray start' makes it one, or write --ray local"
        )
    if address == LOCAL:
        return f"--ray local: Ray did not start ({first_line(error)}); try it again, or leave --ray out"
    return f"--ray {address}: cannot be used ({first_line(error)}); see 'ray status' on a machine of the cluster"
