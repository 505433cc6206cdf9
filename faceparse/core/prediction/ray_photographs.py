"""Parses photographs on a Ray cluster. Tasks read and save them, and a pool of actors parses them.

It does what `saved_photographs` does, by the same functions and on the same batches. Ray Data streams the batches
through, keeps few of them in memory, and does again what a lost process or machine had in hand.
"""

import math
import os
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2

from faceparse import __version__
from faceparse.core.errors import FaceparseError, OutputError, ResourceError, SettingsError
from faceparse.core.faces.face import Finder
from faceparse.core.files.leftovers import new_file
from faceparse.core.images.warp import Size
from faceparse.core.machine.ray_cluster import check_address, joined_ray
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.photograph_states import Broken, Decoded, Saved
from faceparse.core.prediction.photographs import read_photograph, save_photograph
from faceparse.core.prediction.ray_attempts import Attempts
from faceparse.core.prediction.saving import FILES, Outputs

if TYPE_CHECKING:
    from ray import ObjectRef

    from faceparse.core.parser.trained import TrainedModel
    from faceparse.core.prediction.parsed_photographs import PhotographParser

ACTOR, TASK = 0.6, 0.2
"""Share of a core that an actor reserves for each of its threads, and that a task reserves.

A core must have room for an actor and two tasks, one that reads and one that saves. With much more, tasks would wait
until actors have nothing to do: Ray Data keeps a sixth of the cores for each kind of task."""

GPU_CALLS = 3
"""Batches in an actor's hands on a GPU: one is cropped, one parsed, one pasted back."""

BLOCK = 16
"""Most photographs that a task or an actor gets at a time, unless a batch is larger."""

_ITEM = "item"
"""The one column of the rows that Ray Data passes on."""


@dataclass(frozen=True)
class RayPool:
    """A pool of actors in a Ray cluster, and the model that they load."""

    address: str
    model: Callable[[], AbstractContextManager["TrainedModel"]]
    """Opens the model in any process of the cluster."""
    actors: int | None = None
    """Number of actors. None: as many as the cluster has GPUs or cores, and more when machines join."""
    threads: int = 1
    """Threads of each actor."""
    device: str = "auto"
    """auto, cpu or cuda."""
    input_size: Size | None = None

    def __post_init__(self) -> None:
        """Check what was typed.

        Raises:
            SettingsError: a value is not possible.
            ResourceError: Ray is not installed.
        """
        check_address(self.address)
        if self.device not in ("auto", "cpu", "cuda"):
            raise SettingsError(
                f"--device {self.device}: with --ray, Ray gives each actor a GPU of its own; write auto, cpu or cuda"
            )

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join the cluster until the block ends.

        Raises:
            ResourceError: there is no cluster, or it has other versions of Ray or Python.
        """
        with joined_ray(self.address):
            yield

    def saved_photographs(
        self,
        sources: Sequence[Source],
        outputs: Outputs,
        finder: Finder | Literal["auto"] | None,
        min_face: float,
        *,
        batch_size: int,
        tell: Callable[[str], object],
    ) -> Generator[Saved]:
        """Read, parse and save photographs in the cluster. Yield each when its outputs are in place, in any order.

        Raises:
            OutputError: something cannot be written, or a machine does not see the output folder.
            CheckpointError: the model cannot be used.
            ResourceError: a machine has another version of faceparse, or nothing comes back any more.
        """
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_items
        from ray.data.exceptions import ExecutionTimeoutError, SystemException
        from ray.exceptions import RayError

        if not sources:
            return
        context = DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        gpu = self.device == "cuda" or (self.device == "auto" and _most("GPU") > 0)
        if (_most("GPU") < 1) if gpu else (_most("CPU") < ACTOR * self.threads + TASK):
            tell(f"--ray {self.address}: no machine has {'a GPU' if gpu else f'{self.threads} cores'}; waits for one")
        room = _whole("GPU") if gpu else _whole("CPU") // self.threads
        batches = [_Batch(sources[start : start + batch_size]) for start in range(0, len(sources), batch_size)]
        actors = min(self.actors or max(room, 1), len(batches))
        rows = max(1, min(BLOCK // batch_size, len(batches) // (4 * actors)))
        compute = ActorPoolStrategy(
            min_size=actors,
            max_size=self.actors and actors,
            max_concurrent_calls_per_actor=GPU_CALLS if gpu else 1,
            enable_true_multi_threading=gpu,
        )
        recipe = ray.put(_Recipe(self, self.device if gpu else "cpu", finder, min_face, batch_size, outputs))
        reserved: dict[str, Any] = {"num_cpus": ACTOR * self.threads, "num_gpus": int(gpu)}
        parse: Any = _Actor
        elsewhere = outputs.to != FILES and all(source.file is None for source in sources)
        with _site(None if elsewhere else outputs.folder) as site:
            photographs = from_items(
                [{_ITEM: batch} for batch in batches], override_num_blocks=math.ceil(len(batches) / rows)
            )
            read = photographs.map(partial(_run, site, read_photograph), num_cpus=TASK)
            tools = (site, recipe, Attempts.start())
            parsed = read.map(parse, fn_constructor_args=tools, compute=compute, **reserved)
            saved = parsed.map(partial(_run, site, partial(save_photograph, outputs=outputs)), num_cpus=TASK)
            try:
                stream: Any = iter(saved.iter_rows())
                with closing(stream) as done:  # an error ends Ray Data's thread, too
                    for row in done:
                        yield from _content(row)
            except ExecutionTimeoutError:
                raise ResourceError(
                    f"--ray {self.address}: nothing came back for half an hour; go on with --resume, and with "
                    "--batch-size 1 if the photographs that are left take too much memory"
                ) from None
            except (RayError, SystemException) as error:
                raise ResourceError(f"--ray {self.address}: {_reason(error)}; go on with --resume") from error


def _most(kind: str) -> float:
    """Most cores (`CPU`) or GPUs of a machine in the cluster."""
    import ray

    return max((node["Resources"].get(kind, 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)


def _whole(kind: str) -> int:
    """Number of cores or GPUs of the whole cluster."""
    import ray

    return int(ray.cluster_resources().get(kind, 0))


def _reason(error: BaseException) -> str:
    """The error of another process, in one line: Ray puts its traceback before it, and advice of its own behind it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line[0].isspace() and "ray::" not in line]
    return (lines or [type(error).__name__])[0][:200]


@dataclass(frozen=True)
class _Batch:
    """Photographs that the network sees together, in any state from `Source` to `Saved`."""

    items: Sequence[Any]


@dataclass(frozen=True)
class _Failure:
    """An error that ends the command."""

    error: FaceparseError | OSError


def _content(row: dict[str, Any]) -> Sequence[Any]:
    """The photographs of a row. Raises the error that it holds in place of them."""
    batch: _Batch | _Failure = row[_ITEM]
    if isinstance(batch, _Failure):
        raise batch.error
    return batch.items


@dataclass(frozen=True)
class _Site:
    """The place where the command was typed, as processes on other machines must find it."""

    folder: str
    """Working folder: photographs and outputs have paths relative to it."""
    mark: str | None
    """A file in the output folder; None where no process but the command itself needs files of this machine."""
    version: str
    """Version of faceparse."""


@contextmanager
def _site(folder: Path | None) -> Iterator[_Site]:
    """Mark the output folder by a hidden file until the block ends; None: it is not looked for."""
    if folder is None:
        yield _Site("", None, __version__)
        return
    with new_file(folder / "mark") as (path, file), file:
        try:
            yield _Site(str(Path.cwd()), str(path.absolute()), __version__)
        finally:
            path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _enter(site: _Site) -> None:
    """Make this process work there.

    Raises:
        ResourceError: it has another version of faceparse.
        OutputError: its machine does not see the folders.
    """
    machine = socket.gethostname()
    if site.version != __version__:
        raise ResourceError(
            f"{machine}: has faceparse {__version__}, and this command is {site.version}; install the same everywhere"
        )
    folder = site.folder
    cv2.setNumThreads(1)  # processes are the parallelism
    if site.mark is None:
        return
    try:
        os.chdir(folder)
        folder = str(Path(site.mark).parent)
        Path(site.mark).stat()
    except OSError as error:
        raise OutputError(
            f"{machine}: does not see {folder} as the command does ({error.strerror}); with --ray, all machines share "
            "the folders of photographs and outputs"
        ) from None


def _run(site: _Site, function: Callable[[Any], Any], row: dict[str, Any]) -> dict[str, Any]:
    """Apply a function to each photograph of a row's batch."""
    return _told(site, lambda batch: [function(item) for item in batch], row)


def _told(site: _Site, function: Callable[[Sequence[Any]], Sequence[Any]], row: dict[str, Any]) -> dict[str, Any]:
    """Row of what a function makes of a row's batch, or of the error that ends the command."""
    try:
        _enter(site)
        return {_ITEM: _Batch(function(_content(row)))}
    except (FaceparseError, OSError) as error:
        return {_ITEM: _Failure(error)}


@dataclass(frozen=True)
class _Recipe:
    """All that an actor needs."""

    pool: RayPool
    device: str
    finder: Finder | Literal["auto"] | None
    min_face: float
    batch_size: int
    outputs: Outputs

    def parser(self) -> "PhotographParser":
        """Load the model.

        Raises:
            CheckpointError: it cannot be used.
            DeviceError: there is no such device.
        """
        import torch  # which tasks do without

        from faceparse.core.faces.choose_finder import chosen_finder
        from faceparse.core.faces.geometry import if_consistent
        from faceparse.core.parser.inference import load_parser
        from faceparse.core.prediction.parsed_photographs import PhotographParser

        torch.set_num_threads(self.pool.threads)
        with self.pool.model() as model:
            parser = load_parser(model, model.device(self.device), self.pool.input_size)
        geometry = if_consistent(model.geometry)
        finder = chosen_finder(self.finder, parser, geometry, model.part_classes, self.min_face)
        return PhotographParser(parser, finder, geometry, self.batch_size)


class _Actor:
    """A process that parses batch after batch."""

    def __init__(self, site: _Site, recipe: "ObjectRef[_Recipe]", attempts: Attempts) -> None:
        """Load the model."""
        import ray

        self._site, self._attempts, self._lone = site, attempts, threading.Lock()
        self._failure: Exception | None = None
        try:
            _enter(site)
            self._recipe = ray.get(recipe)
            self._parser = self._recipe.parser()
        except (FaceparseError, OSError) as error:  # raised here, it would not reach the user as it is
            self._failure = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Parse a row's photographs, and paste the answers back."""
        return _told(self._site, self._parse, row)

    def _parse(self, batch: Sequence[Decoded | Broken]) -> list[Any]:
        if self._failure is not None:
            raise self._failure
        key = tuple(photo.source.where for photo in batch)
        if self._attempts.may_go_together(key):
            parsed = self._together(batch)
        else:
            parsed = [self._alone(photo) for photo in batch]
        self._attempts.end(key)
        return parsed

    def _alone(self, photo: Decoded | Broken) -> Any:
        """A photograph of a batch that ended processes; it is broken if it ends them alone."""
        source = photo.source
        with self._lone:  # what ends the process now is this photograph
            if (problem := self._attempts.problem(source.where)) is not None:
                return Broken(source, problem, photo.stamp)
            (parsed,) = self._together([photo])
            self._attempts.end(source.where)
            return parsed

    def _together(self, batch: Sequence[Decoded | Broken]) -> list[Any]:
        from faceparse.core.prediction.parsed_photographs import paste_back

        answered = self._parser.answers(map(self._parser.crop, batch))
        return [paste_back(photo, answers, self._recipe.outputs) for photo, answers in answered]
