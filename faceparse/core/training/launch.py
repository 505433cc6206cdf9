"""Starting a run: in this process, in several on this machine, or as one machine of several.

PyTorch's elastic launcher starts the processes, watches them, and starts all of them again when one is lost.
"""

import fcntl
import logging
import math
import os
import pickle
import secrets
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousConnectionError,
    RendezvousError,
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import DynamicRendezvousHandler, RendezvousTimeout
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from faceparse.core.device import check_device, named_gpus
from faceparse.core.distributed import World, is_joined, join, local_rank
from faceparse.core.errors import FaceparseError, InterruptedRunError, LostProcessError, SettingsError, TrainingError
from faceparse.core.files import write_atomic
from faceparse.core.parallel import STOPPING, default_processes
from faceparse.core.settings import Settings, load_settings
from faceparse.core.training import run
from faceparse.core.training.checkpoint import LAST
from faceparse.core.training.observer import Bystander, Observer
from faceparse.core.training.run import RunResult
from faceparse.core.training.run_directory import SETTINGS_FILE, RunDirectory
from faceparse.core.training.signals import exit_code

Display = Callable[[], AbstractContextManager[Observer]]
"""Makes the observer, in the process that has something to tell; it must be picklable."""

SIOCGIFADDR = 0x8915
MEETING = "faceparse"
"""Under this name the launcher knows our way to meet."""
MEETING_PATIENCE = timedelta(hours=1)
"""How long a machine waits for the others to come, or to come back."""
READ_TIMEOUT = 60.0
"""Seconds after which a rendezvous that does not answer is lost; `launch.timeout` where that is less."""


@dataclass(frozen=True)
class Job:
    """What every process of a run is told."""

    what: Literal["train", "resume", "resume_or_train"]
    settings: Settings
    """When resuming, only where and as what it runs; the rest is the checkpoint's."""
    display: Display
    run_dir: Path | None = None
    """To resume."""


def train(settings: Settings, display: Display) -> RunResult:
    """`run.train`, in as many processes as the settings say.

    Raises:
        FaceparseError: as there; TrainingError also where processes were lost more often than `launch.max_restarts`.
    """
    return _start(Job("train", settings, display))


def resume(run_dir: Path, display: Display, options: Mapping[str, object]) -> RunResult:
    """`run.resume`, in as many processes as the run had, but for `options` of where it runs."""
    RunDirectory.check(run_dir)
    return _start(Job("resume", load_settings(run_dir / SETTINGS_FILE, options), display, run_dir))


def resume_or_train(settings: Settings, display: Display) -> RunResult:
    """`run.resume_or_train`, in as many processes as the settings say."""
    return _start(Job("resume_or_train", settings, display))


def _start(job: Job) -> RunResult:
    here = processes_here(job.settings)
    if is_joined() or here * job.settings.launch.nodes == 1:
        return _run(job, _Notes(None))
    for number in range(here):
        check_device(job.settings.train.device, number)
    return _launch(job, here)


def processes_here(settings: Settings) -> int:
    """Processes to start on this machine.

    Raises:
        SettingsError: the settings contradict each other.
    """
    launch, device = settings.launch, settings.train.device
    if launch.nodes > 1 and launch.rendezvous is None and not is_joined():
        raise SettingsError(f"launch.nodes = {launch.nodes}: say where they meet, such as --rendezvous host:29400")
    if launch.processes > 1 and device.startswith("cuda"):
        raise SettingsError(
            f"launch.processes = {launch.processes} and train.device = {device!r}: on GPUs name one for each process, "
            "such as --gpus 0,1"
        )
    return len(named_gpus(device)) or launch.processes


def _run(job: Job, notes: "_Notes") -> RunResult:
    """In this process, alone or as one of several."""
    device = check_device(job.settings.train.device, local_rank())
    with join(device, job.settings.launch.timeout) as world:
        world.agree_on(notes.error)  # of an earlier attempt, by a process that could not tell the others
        earlier = next(filter(None, world.gather(notes.run_dir)), None)
        if not world.is_first:
            return _follow(job, Bystander(), world, notes, earlier)
        with job.display() as observer:
            return _follow(job, observer, world, notes, earlier)


def _follow(job: Job, observer: Observer, world: World, notes: "_Notes", earlier: Path | None) -> RunResult:
    found = notes.keep_run_dir
    if earlier is not None:
        observer.warning(f"{notes.lost or 'a process was lost'}; all are started again")
        if world.first(lambda: (earlier / LAST).exists()):
            return run.resume(earlier, observer, world, found=found, place=job.settings)
        return run.train(job.settings, observer, world, found=found, at=earlier)
    if job.what == "train":
        return run.train(job.settings, observer, world, found=found)
    if job.what == "resume_or_train":
        return run.resume_or_train(job.settings, observer, world, found=found)
    assert job.run_dir is not None
    return run.resume(job.run_dir, observer, world, found=found, place=job.settings)


def _launch(job: Job, here: int) -> RunResult:
    """In processes that PyTorch's launcher starts."""
    launch = job.settings.launch
    with TemporaryDirectory(prefix="faceparse-") as folder, _handlers_kept(), _environment(job.settings, here):
        notes = _Notes(Path(folder))
        try:
            config = _config(job.settings, here, folder, lambda: _before_meeting(job, notes))
            outcomes = elastic_launch(config, _work)(job, notes)
        except SignalException as stop:
            name = signal.Signals(stop.sigval).name
            raise notes.error or InterruptedRunError(
                f"stopped by {name} before all processes could save; {notes.advice}", exit_code(stop.sigval)
            ) from None
        except ChildFailedError as failed:
            raise notes.error or _exhausted(failed, notes, launch.max_restarts) from None
        except RendezvousError as error:
            raise _apart(error, notes, launch.rendezvous) from None
    outcome = outcomes[min(outcomes)]
    if isinstance(outcome, FaceparseError):
        raise outcome
    return outcome


def _work(job: Job, notes: "_Notes") -> RunResult | FaceparseError:
    """What the launcher calls in each process. A process that ends with an exit code ends all, and all are started
    again; an error that all know of is therefore returned.
    """
    try:
        return _run(job, notes)
    except LostProcessError as error:
        notes.lost = str(error)
        sys.exit(1)
    except InterruptedRunError as stop:
        notes.error = stop
        sys.exit(stop.exit_code)  # the launcher waits for that
    except FaceparseError as error:
        if error.agreed:
            return error
        notes.error = error
        sys.exit(2)


class _Notes:
    """What the processes on a machine leave to those that are started after them, and to the launcher."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def error(self) -> FaceparseError | None:
        """Why it is of no use to start again."""
        content = self._read("error")
        return pickle.loads(content) if content else None

    @error.setter
    def error(self, error: FaceparseError) -> None:
        self._write("error", pickle.dumps(error))

    @property
    def lost(self) -> str:
        return self._read("lost").decode()

    @lost.setter
    def lost(self, reason: str) -> None:
        self._write("lost", reason.encode())

    @property
    def run_dir(self) -> Path | None:
        name = self._read("run_dir").decode()
        return Path(name) if name else None

    def keep_run_dir(self, path: Path) -> None:
        self._write("run_dir", str(path).encode())

    @property
    def advice(self) -> str:
        return f"go on with: faceparse train --resume {self.run_dir}" if self.run_dir else "nothing was trained"

    def _read(self, name: str) -> bytes:
        path = self._folder / name if self._folder else None
        return path.read_bytes() if path and path.exists() else b""

    def _write(self, name: str, content: bytes) -> None:
        if self._folder:
            write_atomic(self._folder / name, content)


class _Meeting(DynamicRendezvousHandler):
    """Where machines meet: at the start, and whenever one was lost."""

    _before: Callable[[], None]
    _first = True

    @classmethod
    def at(cls, place: RendezvousParameters) -> RendezvousHandler:
        place.config["before"]()
        backend, store = cls._reach(place)
        _bound_silence(_split(place.endpoint)[1], place.config["read_timeout"])
        meeting = cls.from_backend(
            place.run_id,
            store,
            backend,
            place.min_nodes,
            place.max_nodes,
            place.local_addr,
            RendezvousTimeout(join=MEETING_PATIENCE),
        )
        meeting._before = place.config["before"]
        return meeting

    @staticmethod
    def _reach(place: RendezvousParameters) -> Any:
        """The machine that all meet at may come after this one."""
        deadline = time.monotonic() + MEETING_PATIENCE.total_seconds()
        while True:
            try:
                return create_backend(place)
            except RendezvousConnectionError:
                if place.config["is_host"] or time.monotonic() > deadline:
                    raise

    def get_backend(self) -> str:
        return MEETING

    def next_rendezvous(self) -> RendezvousInfo:
        if not self._first:
            self._before()
        self._first = False
        return super().next_rendezvous()


rendezvous_handler_registry.register(MEETING, _Meeting.at)


def _before_meeting(job: Job, notes: _Notes) -> None:
    """
    Raises:
        InterruptedRunError: a signal to another machine stopped all; each has saved, and need not start again.
    """
    if isinstance(notes.error, InterruptedRunError):
        raise notes.error
    launch = job.settings.launch
    if launch.nodes > 1:
        why = f"{notes.lost}; " if notes.lost else ""
        with job.display() as observer:
            observer.message(f"{why}waiting for {launch.nodes} machines at {launch.rendezvous}")


def _config(settings: Settings, here: int, folder: str, before_meeting: Callable[[], None]) -> LaunchConfig:
    launch = settings.launch
    rendezvous: dict[str, object] = {
        "before": before_meeting,
        "is_host": True,
        "read_timeout": math.ceil(min(launch.timeout, READ_TIMEOUT)),
    }
    address = None
    if launch.rendezvous is not None:
        host, port = _split(launch.rendezvous)
        address = _own_address(host, port)
        rendezvous["is_host"] = _is_own(host)
    return LaunchConfig(
        min_nodes=launch.nodes,
        max_nodes=launch.nodes,
        nproc_per_node=here,
        run_id="faceparse" if launch.rendezvous else secrets.token_hex(8),
        rdzv_backend=MEETING,
        rdzv_endpoint=launch.rendezvous or "localhost:0",
        rdzv_configs=rendezvous,
        max_restarts=launch.max_restarts,
        local_addr=address,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
        start_method="spawn",
        signals_to_handle=",".join(number.name for number in STOPPING),
    )


@contextmanager
def _environment(settings: Settings, here: int) -> Iterator[None]:
    """Variables that the processes inherit; what the user set stays."""
    wanted = {
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else processes that are started again wait for the old ones
        "PYTHONWARNINGS": "ignore::FutureWarning",
        "OMP_NUM_THREADS": str(max(1, default_processes() // here)),
    }
    if settings.launch.rendezvous is not None:
        interface = _interface(_own_address(*_split(settings.launch.rendezvous)))
        wanted |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the launcher tells at length what we tell in one line
    try:
        yield
    finally:
        logging.disable(before)
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """The launcher leaves its own signal handlers behind."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exhausted(failed: ChildFailedError, notes: _Notes, restarts: int) -> Exception:
    rank, failure = failed.get_first_failure()
    if failure.exitcode > 0 and not notes.lost and failure.message:
        return RuntimeError(failure.message)  # a fault of ours: its traceback
    how = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else notes.lost
    return TrainingError(
        f"process {rank} was lost ({how}), and launch.max_restarts = {restarts} is used up; if memory ran out, lower "
        f"train.batch_size or data.workers; {notes.advice}"
    )


def _apart(error: RendezvousError, notes: _Notes, place: str | None) -> TrainingError:
    if notes.run_dir:
        return TrainingError(f"the rendezvous at {place} was lost ({_line(error)}); {notes.advice}")
    where = f" at {place}" if place else ""
    return TrainingError(
        f"the processes did not find each other{where} ({_line(error)}); start the same command on all machines"
    )


def _bound_silence(port: int, seconds: int) -> None:
    """Break this process's connections to `port` where nothing comes back: a write to the rendezvous has no time limit
    of its own, and the system gives up only after a quarter of an hour.
    """
    for entry in Path("/proc/self/fd").iterdir():
        if not entry.is_socket():
            continue
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as shared:  # it may have no peer
            if shared.getpeername()[1] == port:
                shared.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * seconds)


def _split(endpoint: str) -> tuple[str, int]:
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def _own_address(host: str, port: int) -> str:
    """Of this machine, as `host` sees it.

    Raises:
        SettingsError: there is no such host, or no way to it.
    """
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
    """Name of the network interface with that IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # it has none
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


def _line(error: BaseException) -> str:
    error = error.__cause__ or error  # the launcher's own texts only say that there is one
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
