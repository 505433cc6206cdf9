"""Free memory of this process, which a container or a job may limit below the machine's."""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class _ControlGroups(NamedTuple):
    """Where one version of Linux's control groups keeps its numbers."""

    folder: str
    limits: tuple[str, ...]
    usage: str
    cached: str
    """Line of `memory.stat`: cached pages of files. They count as used, and are given back when memory is short."""


_V1 = _ControlGroups("sys/fs/cgroup/memory", ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2 = _ControlGroups("sys/fs/cgroup", ("memory.max", "memory.high"), "memory.current", "inactive_file")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can still take; 0 where nothing tells, as outside Linux.

    This is the smaller of two numbers: the memory that the machine has available, and the rest of the limit of a
    control group around this process (a container's, a job's).

    Args:
        root: folder that holds `proc` and `sys`.
    """
    available = _value(root / "proc/meminfo", "MemAvailable:")
    return max(0, int(min(1024 * available, *_rooms(root)))) if available is not None else 0


def _rooms(root: Path) -> Iterator[float]:
    """Free bytes of each control group, from the process's own to the outermost visible one."""
    yield math.inf
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version = _V1 if controllers else _V2
        # A container may read its path on the host, which it cannot see. Then the outermost folder is its own.
        path = PurePosixPath(version.folder, group.lstrip("/"))
        for folder in (path, *path.parents):
            if folder.is_relative_to(version.folder):
                yield _room(root / folder, version)


def _room(folder: Path, version: _ControlGroups) -> float:
    usage = _value(folder / version.usage)
    limits = [limit for name in version.limits if (limit := _value(folder / name)) is not None]
    if usage is None or not limits:
        return math.inf
    return min(limits) - (usage - (_value(folder / "memory.stat", version.cached) or 0))


def _value(file: Path, name: str = "") -> int | None:
    """Number after `name` at the start of a line; None where there is none, as in a limit of `max`."""
    for line in _lines(file):
        fields = line.removeprefix(name).split()
        if line.startswith(name) and fields and fields[0].isdigit():
            return int(fields[0])
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except OSError:
        return []
