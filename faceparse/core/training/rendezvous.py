"""Where the machines of a run meet: PyTorch's rendezvous, made to say what it waits for and to notice a cut cable.

Why not leave it to `torchrun`, whose rendezvous this is? That works, too (docs/scaling.md), and on one machine it would
do. On two machines PyTorch's rendezvous was tried without this file (torch 2.15, by test_machines.py):

- A machine whose cable is cut ends after 941 seconds: a write to the rendezvous has no time limit. With this file it
  ends within three minutes.
- A machine that starts before the rendezvous is there gives up after 103 seconds. With this file it waits an hour.
- It says nothing while it waits.

This file builds upon documented classes of `torch.distributed.elastic.rendezvous`; its one trick is `_bound_silence`.
Once PyTorch's store has a time limit for writes, this file can go.
"""

import math
import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import DynamicRendezvousHandler, RendezvousTimeout

from faceparse.core.errors import SettingsError
from faceparse.core.settings import LaunchSettings

SIOCGIFADDR = 0x8915
MEETING = "faceparse"
"""Name of our rendezvous in the launcher's registry."""
MEETING_PATIENCE = timedelta(hours=1)
"""Longest time that a machine waits for the others to come, or to come back."""
READ_TIMEOUT = 60.0
"""Seconds without an answer after which the rendezvous counts as lost; `launch.timeout` where that is shorter."""


def meeting_config(launch: LaunchSettings, before: Callable[[], None]) -> dict[str, Any]:
    """Arguments for PyTorch's `LaunchConfig` that make the machines meet by this module.

    Args:
        before: called before each meeting.

    Raises:
        SettingsError: there is no way to the rendezvous.
    """
    rendezvous_handler_registry.register(MEETING, _Meeting.at)
    endpoint = launch.rendezvous
    return {
        "local_addr": own_address(endpoint) if endpoint else None,
        "rdzv_backend": MEETING,
        "rdzv_endpoint": endpoint or "localhost:0",
        "rdzv_configs": {
            "before": before,
            "is_host": endpoint is None or _is_own(split_address(endpoint)[0]),
            "read_timeout": math.ceil(min(launch.timeout, READ_TIMEOUT)),
        },
    }


def network_variables(launch: LaunchSettings) -> dict[str, str]:
    """Environment variables that send all messages between processes over the interface to the rendezvous."""
    interface = _interface(own_address(launch.rendezvous)) if launch.rendezvous else None
    return {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}


class _Meeting(DynamicRendezvousHandler):
    """PyTorch's rendezvous of the machines, at the start and after each loss of a machine."""

    _before: Callable[[], None]
    _first = True

    @classmethod
    def at(cls, parameters: RendezvousParameters) -> RendezvousHandler:
        """Reach the rendezvous and make its handler. PyTorch's registry calls this."""
        parameters.config["before"]()
        backend, store = cls._reach(parameters)
        _bound_silence(split_address(parameters.endpoint)[1], parameters.config["read_timeout"])
        meeting = cls.from_backend(
            parameters.run_id,
            store,
            backend,
            parameters.min_nodes,
            parameters.max_nodes,
            parameters.local_addr,
            RendezvousTimeout(join=MEETING_PATIENCE),
        )
        meeting._before = parameters.config["before"]
        return meeting

    @staticmethod
    def _reach(parameters: RendezvousParameters) -> Any:
        """Connect to the machine that all meet at. Wait for it, because it may start later than this one."""
        deadline = time.monotonic() + MEETING_PATIENCE.total_seconds()
        while True:
            try:
                return create_backend(parameters)
            except RendezvousConnectionError:
                if parameters.config["is_host"] or time.monotonic() > deadline:
                    raise

    def get_backend(self) -> str:
        """Name of this rendezvous."""
        return MEETING

    def next_rendezvous(self) -> RendezvousInfo:
        """Meet the other machines, again after one was lost."""
        if not self._first:
            self._before()
        self._first = False
        return super().next_rendezvous()


def _bound_silence(port: int, seconds: int) -> None:
    """Break this process's connections to `port` after `seconds` without an answer.

    A write to the rendezvous has no time limit of its own, and the system gives up only after a quarter of an hour.
    """
    for entry in Path("/proc/self/fd").iterdir():
        if not entry.is_socket():
            continue
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as shared:  # the socket may have no peer
            if shared.getpeername()[1] == port:
                shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)


def split_address(endpoint: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; the host without brackets."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def own_address(endpoint: str) -> str:
    """Address of this machine, as the host of `endpoint` sees it.

    Raises:
        SettingsError: there is no such host, or no way to it.
    """
    host, port = split_address(endpoint)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SettingsError(f"launch.rendezvous: no way from here to {host} ({error.strerror})") from None


def _is_own(host: str) -> bool:
    """Whether `host` is this machine."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _interface(address: str) -> str | None:
    """Name of the network interface with that IPv4 address; None where there is none."""
    import fcntl  # Linux, as `start` has checked

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
