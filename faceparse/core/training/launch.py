"""Start a run: in this process, in several on this machine, or on one machine of several.

start                     here, or by PyTorch's launcher
  _run_here               joins the other processes; begins a new run or goes on with one
  _run_elastic            PyTorch's launcher calls _worker_main in each process, and again when one is lost
    _worker_main          calls _run_here; turns its outcome into notes and exit codes for the launcher
run.train, run.resume     plan, run directory, epochs (run.py)
"""

import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from faceparse.core.errors import (
    FaceparseError,
    InterruptedRunError,
    LostProcessError,
    SettingsError,
    TrainingError,
    first_line,
)
from faceparse.core.machine.device import check_device, named_gpus
from faceparse.core.machine.distributed import World, is_joined, join, local_rank
from faceparse.core.machine.linux import many_processes_problem
from faceparse.core.machine.parallel import STOPPING, default_processes, end_with_parent
from faceparse.core.runs.directory import LAST, SETTINGS_FILE, RunDirectory
from faceparse.core.settings import Settings, load_settings
from faceparse.core.training import run
from faceparse.core.training.observer import Bystander, Observer
from faceparse.core.training.process_notes import Notes
from faceparse.core.training.rendezvous import meeting_config, network_variables
from faceparse.core.training.run import RunResult
from faceparse.core.training.signals import StopSignals, exit_code

LENGTH = "train.epochs"
"""Setting that may change when a run is resumed, besides those of where it runs."""

Display = Callable[[], AbstractContextManager[Observer]]
"""Makes the observer, in the process that shows progress. Must be picklable."""


@dataclass(frozen=True)
class Job:
    """A run to start. Every process of the run gets a copy."""

    settings: Settings
    """For a run that is resumed, they only say where it runs and in how many processes. The checkpoint has the rest."""
    display: Display
    resume: Path | Literal["auto"] | None = None
    """Run directory to go on with. `auto` takes the newest unfinished run with these settings, or begins a new one."""
    epochs: int | None = None
    """Last epoch of a run that is resumed. None leaves it as it is."""


def resume_job(run_dir: Path, display: Display, options: Mapping[str, object]) -> Job:
    """The job that goes on with a run, in as many processes as before unless `options` say otherwise.

        job = resume_job(Path("runs/celebamask/20260101-120000-ab12"), display, {})
        result = start(job)

    Args:
        options: settings that say where the run runs, by their dotted keys; and train.epochs, its new last epoch.

    Raises:
        SettingsError: `run_dir` is no run directory, or an option is bad.
    """
    RunDirectory.check(run_dir)
    settings = load_settings(run_dir / SETTINGS_FILE, options)
    return Job(settings, display, run_dir, settings.train.epochs if LENGTH in options else None)


def start(job: Job) -> RunResult:
    """Train in this process, or in as many processes as the settings say.

    Raises:
        FaceparseError: as `run.train` and `run.resume`.
        TrainingError: also where processes were lost more often than `launch.max_restarts` allows.
    """
    count = processes_here(job.settings)
    if is_joined() or count * job.settings.launch.nodes == 1:
        return _run_here(job, Notes(None))
    if problem := many_processes_problem():
        raise SettingsError(f"{count * job.settings.launch.nodes} training processes: {problem}")
    for number in range(count):
        check_device(job.settings.train.device, number)
    return _run_elastic(job, count)


def must_be_one_process(settings: Settings) -> None:
    """Refuse settings that would start other processes. One that a launcher started may be one of several.

    Raises:
        SettingsError: they ask for several GPUs, processes or machines, or contradict each other.
    """
    if not is_joined() and processes_here(settings) * settings.launch.nodes > 1:
        raise SettingsError(
            f"train.device = {settings.train.device!r}, launch.processes = {settings.launch.processes}, launch.nodes = "
            f"{settings.launch.nodes}: Python trains in one process; use the command 'faceparse train' for several"
        )


def processes_here(settings: Settings) -> int:
    """Number of processes to start on this machine.

    Raises:
        SettingsError: the settings contradict each other.
    """
    launch, device = settings.launch, settings.train.device
    if launch.nodes > 1 and launch.rendezvous is None and not is_joined():
        raise SettingsError(f"launch.nodes = {launch.nodes}: say where they meet, such as --rendezvous host:29400")
    if launch.processes > 1 and device.startswith("cuda"):
        raise SettingsError(
            f"launch.processes = {launch.processes} and train.device = {device!r}: processes are counted on CPUs only, "
            "each GPU that is named has one; leave --processes out, and write --gpus 0,1 for two"
        )
    if device == "mps" and launch.processes * launch.nodes > 1:
        raise SettingsError(
            "train.device = 'mps': it takes one training process; leave --processes and --nodes out, or use "
            "--device cpu"
        )
    return len(named_gpus(device)) or launch.processes


def _run_here(job: Job, notes: Notes) -> RunResult:
    """Train in this process, alone or as one of several. Go on with the run that an earlier attempt left, if any."""
    settings = job.settings
    device = check_device(settings.train.device, local_rank())
    gpus = named_gpus(settings.train.device)
    shared = len(set(gpus)) < len(gpus)
    with (
        join(device, settings.launch.timeout, gpu_is_shared=shared) as world,
        _observer(job, world) as observer,
    ):
        world.raise_in_all(notes.error)  # an error that a process of an earlier attempt could not tell the others
        earlier = next(filter(None, world.gather(notes.run_dir)), None)  # the run directory of a lost attempt
        keep = notes.keep_run_dir
        if earlier is not None:
            observer.warning(f"{notes.lost or 'a process was lost'}; all are started again")
            if world.on_first(lambda: (earlier / LAST).exists()):
                return run.resume(earlier, observer, world, on_run_dir=keep, where=settings, epochs=job.epochs)
            return run.train(settings, observer, world, on_run_dir=keep, run_dir=earlier)
        if job.resume is None:
            return run.train(settings, observer, world, on_run_dir=keep)
        if job.resume == "auto":
            return run.resume_or_train(settings, observer, world, on_run_dir=keep)
        return run.resume(job.resume, observer, world, on_run_dir=keep, where=settings, epochs=job.epochs)


def _observer(job: Job, world: World) -> AbstractContextManager[Observer]:
    """Make the job's observer in the first process. The other processes show nothing."""
    return job.display() if world.is_first else nullcontext(Bystander())


def _run_elastic(job: Job, count: int) -> RunResult:
    """Train in processes that PyTorch's launcher starts, watches, and starts again when one is lost."""
    launch = job.settings.launch
    with TemporaryDirectory(prefix="faceparse-") as folder, _handlers_kept(), _environment(job.settings, count):
        notes = Notes(Path(folder))
        try:
            config = _config(job.settings, count, folder, lambda: _before_meeting(job, notes))
            elastic_launch(config, _worker_main)(job, notes)
        except (SignalException, ChildFailedError) as end:
            if notes.result is None:
                raise notes.error or _cut_off(end, notes, launch.max_restarts) from None
        except RendezvousError as error:
            raise _not_met(error, notes, launch.rendezvous) from None
        if notes.result is not None:
            return notes.result
        assert notes.error is not None
        raise notes.error


def _worker_main(job: Job, notes: Notes) -> None:
    """Run the job in a process of the launcher, and note its outcome: a launcher that stops takes no other answer.

    A process that ends with an exit code makes the launcher end and restart all processes. So it ends without one where
    all processes know of an error. Where the launcher is killed, this process ends, too.
    """
    end_with_parent()
    try:
        notes.result = _run_here(job, notes)
    except LostProcessError as error:
        notes.lost = str(error)
        sys.exit(1)
    except InterruptedRunError as stop:
        notes.error = stop
        sys.exit(stop.exit_code)  # the launcher waits until this process ends
    except FaceparseError as error:
        notes.error = error
        if not error.agreed:
            sys.exit(2)
    if StopSignals.newest is not None:  # PyTorch's part of this process would wait for a launcher that waits for it
        sys.exit(exit_code(StopSignals.newest))


def _before_meeting(job: Job, notes: Notes) -> None:
    """Say that this machine waits for the others, before each meeting.

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


def _config(settings: Settings, count: int, folder: str, before_meeting: Callable[[], None]) -> LaunchConfig:
    launch = settings.launch
    return LaunchConfig(
        min_nodes=launch.nodes,
        max_nodes=launch.nodes,
        nproc_per_node=count,
        run_id="faceparse" if launch.rendezvous else secrets.token_hex(8),
        max_restarts=launch.max_restarts,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
        start_method="spawn",
        signals_to_handle=",".join(number.name for number in STOPPING),
        **meeting_config(launch, before_meeting),
    )


@contextmanager
def _environment(settings: Settings, count: int) -> Iterator[None]:
    """Set the variables that the processes inherit. Keep those that the user set."""
    wanted = {
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else processes that are started again wait for the old ones
        "PYTHONWARNINGS": "ignore::FutureWarning",
        "OMP_NUM_THREADS": str(max(1, default_processes() // count)),
        **network_variables(settings.launch),
    }
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the launcher logs at length what our errors say in one line
    try:
        yield
    finally:
        logging.disable(before)
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the signal handlers afterwards: the launcher leaves its own behind."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cut_off(end: SignalException | ChildFailedError, notes: Notes, restarts: int) -> Exception:
    if isinstance(end, SignalException):
        name = signal.Signals(end.sigval).name
        return InterruptedRunError(
            f"stopped by {name} before all processes could save; {notes.advice}", exit_code(end.sigval)
        )
    rank, failure = end.get_first_failure()
    if failure.exitcode > 0 and not notes.lost and failure.message:
        return RuntimeError(failure.message)  # a bug in faceparse: show its traceback
    how = signal.Signals(-failure.exitcode).name if failure.exitcode < 0 else notes.lost
    return TrainingError(
        f"process {rank} was lost ({how}), and launch.max_restarts = {restarts} is used up; if memory ran out, lower "
        f"train.batch_size or data.workers; {notes.advice}"
    )


def _not_met(error: RendezvousError, notes: Notes, endpoint: str | None) -> TrainingError:
    if notes.run_dir:
        return TrainingError(f"the rendezvous at {endpoint} was lost ({_cause(error)}); {notes.advice}")
    where = f" at {endpoint}" if endpoint else ""
    return TrainingError(
        f"the processes did not find each other{where} ({_cause(error)}); start the same command on all machines"
    )


def _cause(error: BaseException) -> str:
    return first_line(error.__cause__ or error)  # the launcher's own text only says that there was an error
