"""Makes faceparse see another system than Linux: PRETEND_SYSTEM says which. Python imports this file as it starts.

What that system lacks is taken away from faceparse's own files alone: other packages have code for each system, which
runs here as it is. On Windows, a file that is open cannot be renamed, replaced or removed, and no folder can be opened.
"""

import builtins
import os
import pathlib
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

SYSTEM = os.environ.get("PRETEND_SYSTEM", "")
STDLIB = str(Path(os.__file__).parent)

NOT_ON_MACOS = [
    "memfd_create",
    "pidfd_open",
    "sched_getaffinity",
    "sched_setaffinity",
    "eventfd",
    "splice",
    "O_TMPFILE",
    "O_DIRECT",
]
NOT_ON_WINDOWS = NOT_ON_MACOS + [
    "fork",
    "forkpty",
    "getuid",
    "geteuid",
    "getgid",
    "getpgid",
    "setsid",
    "killpg",
    "nice",
    "chown",
    "lchown",
    "fchown",
    "fchmod",
    "mkfifo",
    "mknod",
    "statvfs",
    "pread",
    "pwrite",
    "preadv",
    "pwritev",
    "sync",
    "fdatasync",
    "uname",
    "getloadavg",
    "wait",
    "wait4",
    "WNOHANG",
    "posix_spawn",
    "sysconf",
    "O_NONBLOCK",
    "O_NOFOLLOW",
    "O_DIRECTORY",
    "O_CLOEXEC",
    "O_SYNC",
]
MODULES = {"macos": (), "windows": ("fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "posix", "syslog")}
ATTRIBUTES = {
    "macos": {"os": NOT_ON_MACOS},
    "windows": {
        "os": NOT_ON_WINDOWS,
        "signal": [
            "SIGKILL",
            "SIGHUP",
            "SIGUSR1",
            "SIGUSR2",
            "SIGALRM",
            "SIGCHLD",
            "SIGPIPE",
            "pause",
            "setitimer",
            "sigwait",
            "pthread_sigmask",
        ],
    },
}
VALUES = {
    "macos": {("sys", "platform"): "darwin"},
    "windows": {("sys", "platform"): "win32", ("os", "name"): "nt"},
}


class Elsewhere(ModuleType):
    """A module as it is on that system."""

    def __init__(self, real: ModuleType) -> None:
        super().__init__(real.__name__)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        where = self._real.__name__
        if name in ATTRIBUTES[SYSTEM].get(where, ()):
            raise AttributeError(f"module {where!r} has no attribute {name!r}", name=name)
        return VALUES[SYSTEM].get((where, name), getattr(self._real, name))


def asked_by_faceparse() -> bool:
    """Whether the nearest caller outside the standard library is a file of faceparse."""
    frame: Any = sys._getframe(1)
    while frame:
        file = frame.f_code.co_filename
        if file != __file__ and not file.startswith((STDLIB, "<frozen")):
            return "/faceparse/" in file and "/tests/" not in file
        frame = frame.f_back
    return False


def no_proc(event: str, arguments: Any) -> None:
    """Hide Linux's folders."""
    if event in ("open", "os.listdir", "os.scandir"):
        path = str(arguments[0])
        if path.startswith(("/proc", "/dev/shm")) and asked_by_faceparse():
            raise FileNotFoundError(2, "No such file or directory", path)


def is_open(path: Any) -> bool:
    """Whether this process has the file open, or something in the folder."""
    real = os.path.realpath(path)
    for number in range(256):
        try:
            target = str(Path(f"/proc/self/fd/{number}").readlink())
        except OSError:
            continue
        if target == real or target.startswith(f"{real}/"):
            return True
    return False


def only_closed(function: Any) -> Any:
    """Let `function` refuse files that are open."""

    def checked(*paths: Any, **options: Any) -> Any:
        for path in paths:
            if isinstance(path, str | os.PathLike) and asked_by_faceparse() and is_open(path):
                raise PermissionError(13, "The process cannot access the file: it is open", os.fspath(path))
        return function(*paths, **options)

    return checked


def pretend() -> None:
    """Take away what that system lacks."""
    elsewhere = {name: Elsewhere(module) for name, module in (("os", os), ("signal", signal), ("sys", sys))}
    real_import, real_open = builtins.__import__, os.open

    def import_there(name: str, globals: Any = None, *more: Any, **named: Any) -> Any:  # noqa: A002
        if str((globals or {}).get("__name__", "")).startswith("faceparse"):
            if name in MODULES[SYSTEM]:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            if name in elsewhere:
                return elsewhere[name]
        return real_import(name, globals, *more, **named)

    def open_file(path: Any, *arguments: Any, **options: Any) -> int:
        if pathlib.Path(path).is_dir():
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real_open(path, *arguments, **options)

    builtins.__import__ = import_there
    sys.addaudithook(no_proc)
    if SYSTEM == "windows":
        for name in ("replace", "rename", "unlink", "remove"):
            setattr(os, name, only_closed(getattr(os, name)))
        elsewhere["os"].open = open_file  # type: ignore[attr-defined]


if SYSTEM:
    pretend()
