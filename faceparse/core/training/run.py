"""Train one run from settings to a finished run directory. Each process of the run calls this.

train, resume             plan, then the run directory, then
  Run.execute             the epochs
    Run._train_epoch      trainer.train_epoch: the steps (trainer.py)
    Run._evaluate         scores on `val`
    Run._finish_epoch     metrics; best.pth and last.pth where the epoch was scored (recorder.py)

`on_first`, `on_all`, `in_step` and `raise_in_all` are calls that all processes make together: see the table in
machine/distributed.py.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from faceparse.core.errors import CheckpointError, InterruptedRunError, SettingsError, TrainingError
from faceparse.core.machine.distributed import ALONE, World, is_joined
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.parser.checkpoint_format import pack
from faceparse.core.parser.exact_weights import load_exactly
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.runs.directory import BEST, LAST, RunDirectory, is_finished
from faceparse.core.runs.mlflow_run import EPOCHS_TAG
from faceparse.core.runs.tracking_record import read_tracking
from faceparse.core.sampling.loader import Loader
from faceparse.core.scoring.counting import evaluate
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import Scores, compute_scores, flat_name, resolve_metric
from faceparse.core.settings import Settings, flatten
from faceparse.core.training.assemble import make_loader, make_trainer
from faceparse.core.training.description import (
    early_end,
    input_datasets,
    logged_name,
    mlflow_tags,
    new_end,
    opening_lines,
    overlay_sheet,
)
from faceparse.core.training.observer import Bystander, Observer
from faceparse.core.training.plan import TrainingPlan, adopt_start, plan_training
from faceparse.core.training.recorder import Recorder
from faceparse.core.training.run_checkpoints import read_last
from faceparse.core.training.signals import StopSignals, exit_code
from faceparse.core.training.state import TrainingState, read_training_state
from faceparse.core.training.trainer import NonFiniteLossError

if TYPE_CHECKING:
    from faceparse.core.runs.system import SystemMonitor

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """Outcome of a finished run."""

    run_dir: Path
    """Run directory, with settings, metrics, log and checkpoints."""
    best: Path
    """Checkpoint of the best epoch."""
    best_epoch: int
    """Epoch of `best`, counted from 1."""
    best_score: float
    """Score of `best` on `val`, a fraction of 1."""
    run_id: str | None
    """The run's id in MLflow; None where MLflow does not know it."""
    tracking_uri: str | None
    """Address of MLflow; None where the run is not logged there."""
    metric: str
    """Score on `val` that chose `best`, as metrics.jsonl names it."""
    data_root: Path
    """Dataset that it was trained on."""


@dataclass
class _Best:
    """Best score so far."""

    score: float = 0.0
    epoch: int = 0
    """0 before the first score."""
    since: int = 0
    """Evaluations since then."""

    def is_beaten_by(self, score: float) -> bool:
        return self.epoch == 0 or score > self.score


OnRunDir = Callable[[Path], None]
"""Called with the run directory once it exists."""


def train(
    settings: Settings,
    observer: Observer,
    world: World = ALONE,
    *,
    on_run_dir: OnRunDir = lambda _: None,
    run_dir: Path | None = None,
) -> RunResult:
    """Train as the settings say, in a new run directory.

        settings = load_settings(Path("settings.toml"))
        result = train(settings, Bystander())

    Args:
        run_dir: directory of a run that never wrote a checkpoint; the run begins anew there.

    Raises:
        FaceparseError: something in settings, dataset, weights, device or disk stands in the way; nothing was trained.
        InterruptedRunError: a signal asked to stop; the checkpoint is written.
        LostProcessError: another process is gone.
    """
    settings = world.on_first(lambda: adopt_start(settings, observer))
    plan = plan_training(settings, observer.track, world)
    world.on_first(lambda: _check_experiment(settings, observer))
    with _directory(lambda: RunDirectory.create(settings, run_dir), world, on_run_dir) as directory:
        return Run(plan, directory, observer, resumed=None).execute()


def check(settings: Settings, observer: Observer) -> None:
    """Check everything that `train` checks before it writes anything.

    Raises:
        FaceparseError: `train` would raise the same error.
    """
    plan_training(adopt_start(settings, observer), observer.track, ALONE)
    _check_experiment(settings, observer)


def _check_experiment(settings: Settings, observer: Observer) -> None:
    if settings.tracking.enabled:
        from faceparse.core.runs.mlflow_store import check_experiment  # MLflow takes seconds to import

        check_experiment(settings.tracking, warn=observer.warning)


def resume(
    run_dir: Path,
    observer: Observer,
    world: World = ALONE,
    *,
    on_run_dir: OnRunDir = lambda _: None,
    where: Settings | None = None,
    epochs: int | None = None,
) -> RunResult:
    """Go on with a run from its newest checkpoint, as if it had never stopped. A finished run stays as it is.

    Args:
        where: settings that say where the run goes on; all their other values are ignored.
        epochs: new last epoch, of a finished run, too. The schedule then ends there, and `train.patience` counts anew.
            Where the run has this end already and goes on to it, nothing changes.

    Raises:
        FaceparseError: there is no such run or checkpoint, its settings file or dataset has changed, or `epochs` are
            trained already.
        InterruptedRunError, LostProcessError: as `train`.
    """
    with _directory(lambda: RunDirectory.reopen(run_dir), world, on_run_dir) as directory:
        checkpoint = world.on_first(lambda: _read_last(run_dir, directory, observer, epochs))
        if world.on_first(lambda: _is_all(run_dir, checkpoint, epochs)):
            observer.message(_nothing_left(run_dir, checkpoint))
            return world.on_first(lambda: _finished_result(run_dir, checkpoint))
        settings = checkpoint.settings.moved_to(where) if where is not None else checkpoint.settings
        extended = epochs is not None and (epochs != settings.train.epochs or _is_stale(checkpoint))
        settings = settings.lasting(epochs) if epochs is not None else settings
        plan = plan_training(settings, observer.track, world, resumed=checkpoint)
        if plan.label_set != checkpoint.label_set:
            raise CheckpointError(
                f"{checkpoint.path}: its label set is no longer that of {plan.settings.data.root}; put the old one back"
            )
        return Run(plan, directory, observer, resumed=checkpoint, extended=extended).execute()


def resume_or_train(
    settings: Settings, observer: Observer, world: World = ALONE, *, on_run_dir: OnRunDir = lambda _: None
) -> RunResult:
    """Go on with the newest unfinished run that has these settings, or start one. For jobs that are requeued."""
    run_dir = world.on_first(lambda: RunDirectory.find(adopt_start(settings, observer)))
    if run_dir is None:
        return train(settings, observer, world, on_run_dir=on_run_dir)
    return resume(run_dir, observer, world, on_run_dir=on_run_dir, where=settings)


def _read_last(run_dir: Path, directory: RunDirectory | None, observer: Observer, epochs: int | None) -> Checkpoint:
    checkpoint = read_last(run_dir, warn=observer.warning)
    if directory is not None:
        directory.check_settings(checkpoint.settings, epochs)
    return checkpoint


def _is_all(run_dir: Path, last: Checkpoint, epochs: int | None) -> bool:
    """Whether nothing is left to train of a run, or to `epochs` if they are given.

    Raises:
        SettingsError: the run is beyond `epochs`.
    """
    finished, done = is_finished(run_dir), last.epoch or 0
    if epochs is None or (finished and epochs == done):
        return finished
    if epochs < done or (epochs == done and epochs != last.settings.train.epochs):
        raise SettingsError(f"train.epochs = {epochs}: {run_dir} has trained {done} already; name a later end")
    return False


def _is_stale(last: Checkpoint) -> bool:
    """Whether `train.patience` ended the run."""
    patience = last.settings.train.patience
    return 0 < patience <= read_training_state(last.training, last.path).best.since


def _nothing_left(run_dir: Path, last: Checkpoint) -> str:
    done, train = last.epoch, last.settings.train
    epochs = f"all {done} epochs" if done == train.epochs else f"{done} of {train.epochs} epochs"
    return (
        f"{run_dir} is finished, {epochs}; nothing is left to train. To train on to epoch N, where the learning rate "
        f"then ends: --resume {run_dir} --epochs N. Or a new run starts from its weights: --restore-from "
        f"{run_dir / LAST} --epochs N"
    )


def _finished_result(run_dir: Path, last: Checkpoint) -> RunResult:
    best, tracking = read_training_state(last.training, last.path).best, read_tracking(run_dir)
    metric = logged_name(resolve_metric(last.settings.train.best_metric, last.label_set), last.label_set)
    run_id, uri = (tracking.run_id, tracking.uri) if tracking else (None, None)
    root = last.settings.data.root
    return RunResult(run_dir, run_dir / BEST, best.epoch, best.score, run_id, uri, metric, root)


@contextmanager
def _directory(
    open_directory: Callable[[], RunDirectory], world: World, on_run_dir: OnRunDir
) -> Iterator[RunDirectory | None]:
    """Open the run directory and hold it in the first process. The other processes get None once it exists."""
    held: list[RunDirectory] = []

    def hold() -> Path:
        held.append(open_directory())
        return held[0].path

    try:
        on_run_dir(world.on_first(hold))
        yield held[0] if held else None
    finally:
        for directory in held:
            directory.close()


class _StopRequestedError(Exception):
    """Some process received a signal, so all processes stop here."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class Run:
    """One run, in one of its processes. The first process keeps the record; the others only train."""

    def __init__(
        self,
        plan: TrainingPlan,
        directory: RunDirectory | None,
        observer: Observer,
        resumed: Checkpoint | None,
        extended: bool = False,
    ) -> None:
        self.plan, self.world = plan, plan.world
        self.settings, self.label_set, self.device = plan.settings, plan.label_set, plan.device
        self.observer = observer if self.world.is_first else Bystander()
        self.record = Recorder(directory, observer) if directory is not None else None
        self.best = _Best()
        self.scores: Mapping[str, float] = {}
        """Newest scores on `val`."""
        self.first_epoch = 1
        self.extended = extended
        self.stop = StopSignals(handed_on=is_joined())
        self.model = plan.model
        self.trainer = make_trainer(plan)
        if resumed is not None:
            self.world.on_all(lambda: self._restore(resumed))
        elif plan.start is not None:
            self._say(f"{self.settings.model.pretrained}: {plan.start}")

    def execute(self) -> RunResult:
        """Train to the end and return the outcome.

        Raises:
            InterruptedRunError: a signal asked to stop; the checkpoint is written.
            TrainingError: the loss is not finite, or the device cannot go on.
            LostProcessError: another process is gone.
            OutputError: training came to its end, but the last checkpoint could not be written.
        """
        for line in opening_lines(self.plan, self.record.directory.path if self.record else None):
            self._say(line)
        with self.stop, self._tracked(), self._watched() as monitor:
            if self.extended:
                self._keep_new_end()
            loader = make_loader(self.plan)
            for epoch in range(self.first_epoch, self.settings.train.epochs + 1):
                if self._is_stale():
                    self._say(early_end(self.plan, epoch - 1, self.trainer.next_lr))
                    break
                try:
                    metrics = self._train_epoch(loader, epoch)
                    scores = self._evaluate() if self._is_due(epoch) else None
                except _StopRequestedError as stop:
                    raise self.world.on_first(partial(self._interrupted, epoch, stop.signal)) from None
                self._finish_epoch(epoch, metrics | (monitor.take() if monitor else {}), scores)
            self.world.raise_in_all(self.record.unsaved if self.record else None)
            if self.record is not None:
                self.record.finish()
        return self.world.on_first(self._result)

    def _result(self) -> RunResult:
        assert self.record is not None
        path, tracker = self.record.directory.path, self.record.tracker
        metric, best = logged_name(self.plan.metric, self.label_set), self.best
        root = self.plan.settings.data.root
        return RunResult(path, path / BEST, best.epoch, best.score, tracker.run_id, tracker.uri, metric, root)

    def _keep_new_end(self) -> None:
        """Write the run's new number of epochs to its settings and its checkpoint: from now on it is the run's own."""
        if self.record is not None:
            self.record.directory.extend(self.settings)
            self.record.tracker.tag({EPOCHS_TAG: str(self.settings.train.epochs)})
        self._save_last(self.first_epoch - 1)

    def _is_stale(self) -> bool:
        """Whether `train.patience` ends the run. The first process decides: it knows which best.pth was written."""
        patience = self.settings.train.patience
        return patience > 0 and self.world.on_first(lambda: self.best.since >= patience)

    def _finish_epoch(self, epoch: int, metrics: dict[str, float], scores: Scores | None) -> None:
        self.trainer.start_epoch()  # first: last.pth is to say that nothing of the next epoch is done
        if scores is not None:
            self.scores = scores.flat()
            metrics |= {f"val/{name}": value for name, value in self.scores.items()}
        score = None if scores is None else scores.get(self.plan.metric) or 0.0
        improved = score is not None and self.best.is_beaten_by(score)
        if score is not None:
            self.best.since = 0 if improved else self.best.since + 1
        if self.record is not None:
            self.record.epoch(epoch, metrics, improved)
            if score is not None and improved:
                self._save_best(self.record, epoch, score)
        if scores is not None:
            self._save_last(epoch)
        self.observer.epoch_finished(epoch, metrics, improved, logged_name(self.plan.metric, self.label_set))

    def _save_best(self, record: Recorder, epoch: int, score: float) -> None:
        with record.forgiving():
            record.save_best(self._content(epoch), {"best_epoch": str(epoch), "best_score": f"{score:.6f}"})
            self.best = _Best(score, epoch)
            if samples := self.plan.val[: self.settings.tracking.overlays]:
                record.save_overlays(epoch, overlay_sheet(self._parser(), samples, self.label_set))

    def _restore(self, checkpoint: Checkpoint) -> None:
        training = read_training_state(checkpoint.training, checkpoint.path)
        if training.trainer.epoch.done > (iterations := self.plan.batches.iterations):
            raise CheckpointError(
                f"{checkpoint.path}: damaged training state, {training.trainer.epoch.done} iterations are done of an "
                f"epoch of {iterations}; copy it again"
            )
        load_exactly(self.model, checkpoint.weights, checkpoint.path)
        self.trainer.load_state_dict(training.trainer, checkpoint.path)
        self.best = _Best(**vars(training.best))
        self.scores = checkpoint.scores
        finished = checkpoint.epoch or 0
        self.first_epoch = finished + 1
        if self.record is not None:
            self.record.directory.forget_after(finished)
            self._compare(checkpoint, training)
        accumulate = self.plan.batches.accumulate
        if accumulate != self.settings.train.accumulate:
            self._say(f"{accumulate} batches make an update of {self.plan.update_size} photographs, as before")
        within = f" and {self.trainer.done} iterations of epoch {finished + 1}" if self.trainer.done else ""
        self._say(f"resumed after epoch {finished}{within}")
        if self.extended:
            self.best.since = 0
            before = training.trainer.schedule.last_lr[0]
            self._say(new_end(self.settings, checkpoint.settings, before, self.trainer.next_lr))

    def _compare(self, checkpoint: Checkpoint, training: TrainingState) -> None:
        """Warn where dataset or best.pth are no longer those of the run."""
        if changed := [name for name, now in self.plan.listing.items() if training.listing.get(name, now) != now]:
            self.observer.warning(
                f"{self.settings.data.root}: photographs of {' and '.join(changed)} have changed since the run began; "
                "it goes on with what is there now, and scores before and after are not of the same photographs"
            )
        best = checkpoint.path.parent / BEST
        if self.best.epoch and not self._is_own_best(best, checkpoint):
            self.observer.warning(
                f"{best}: is not the best of this run, which is of epoch {self.best.epoch}; the next epoch that is "
                "scored replaces it"
            )
            self.best = _Best()

    def _is_own_best(self, path: Path, last: Checkpoint) -> bool:
        """Whether best.pth is the one that the checkpoint names, or of an epoch that will be trained again."""
        try:
            found = read_checkpoint(path)
        except CheckpointError:
            return False
        settings = found.settings.moved_to(last.settings).lasting(last.settings.train.epochs)
        if settings != last.settings or found.label_set != last.label_set or found.epoch is None:
            return False
        name = flat_name(self.plan.metric, self.label_set)
        same = found.epoch == self.best.epoch and abs((found.scores.get(name) or 0.0) - self.best.score) < 1e-6
        return same or found.epoch > (last.epoch or 0)

    def _train_epoch(self, loader: Loader[Any, Any], epoch: int) -> dict[str, float]:
        every, batches = self.settings.train.checkpoint_every, self.plan.batches
        batches.epoch, batches.start = epoch, self.trainer.done
        self.trainer.freeze(self.settings.model.is_frozen(epoch))
        self.observer.epoch_started(epoch, self.settings.train.epochs, batches.iterations)

        def after_step() -> None:
            if every and self.trainer.iteration % every == 0:
                self._save_last(epoch - 1)

        left = (batches.iterations - batches.start) * batches.accumulate
        try:
            for progress in self.trainer.train_epoch(self._in_step(loader, left), after_step):
                self.observer.progress(progress)
        except NonFiniteLossError as error:
            indices = [index for part in self.world.gather(error.indices) for index in part]
            files = ", ".join(str(self.plan.train[index].image) for index in indices)
            named = TrainingError(
                f"the loss is not finite at iteration {error.iteration} (epoch {epoch}), with {files}; lower optim.lr, "
                f"or look at these files; {LAST} is from before it"
            )
            self.world.raise_in_all(named)
            raise named from None  # not reached: the line above raises it in all processes
        losses = {f"train/{name}": value for name, value in progress.losses.items()}
        return losses | {"train/lr": progress.lr, "train/images_per_second": progress.images_per_second}

    def _interrupted(self, epoch: int, number: signal.Signals) -> InterruptedRunError:
        assert self.record is not None
        self._save_last(epoch - 1)
        code = exit_code(number)
        where = (
            f"{number.name} in epoch {epoch}, after {self.trainer.done} of {self.plan.batches.iterations} iterations"
        )
        if self.record.unsaved is not None:
            return InterruptedRunError(f"stopped by {where}, but not saved: {self.record.unsaved}", code)
        with self.record.forgiving():
            self.record.directory.log(f"stopped by {where}")
        command = f"faceparse train --resume {self.record.directory.path}"
        return InterruptedRunError(f"stopped by {where}; saved, go on with: {command}", code)

    def _is_due(self, epoch: int) -> bool:
        return epoch % self.settings.train.evaluate_every == 0 or epoch == self.settings.train.epochs

    def _evaluate(self) -> Scores:
        """Scores on `val`. Each process counts a part of it; the sum does not depend on the number of processes."""
        val, world = self.plan.val, self.world
        rounds = -(-len(val) // world.size)

        def track(items: Iterable[T], total: int | None, what: str, /) -> Iterable[T]:
            return self.observer.track(self._in_step(items, rounds), total, what)

        confusions = evaluate(
            self._parser(),
            val[world.rank :: world.size],
            len(self.label_set),
            [DEFAULT],
            batch_size=self.settings.train.batch_size,
            workers=self.settings.data.workers,
            track=track,
        )
        counts = world.sum(torch.from_numpy(confusions[DEFAULT]))
        return compute_scores(counts.numpy(), self.label_set)

    def _in_step(self, items: Iterable[T], rounds: int) -> Iterator[T]:
        """Yield each item after all processes agree to go on."""
        for item, wish in self.world.in_step(items, rounds, lambda: self.stop.received or 0):
            if wish:
                raise _StopRequestedError(wish)
            if item is not None:
                yield item

    def _parser(self) -> Parser:
        network = ParsingNetwork(self.trainer.best_model.eval(), self.settings.data)
        return Parser(network.to(self.device), self.device)

    def _content(self, epoch: int) -> dict[str, Any]:
        assert self.record is not None
        return pack(
            self.trainer.best_model,
            settings=self.settings,
            label_set=self.label_set,
            epoch=epoch,
            scores=self.scores,
            run_id=self.record.tracker.run_id,
            tracking_uri=self.record.tracker.uri,
            geometry=self.plan.geometry,
        )

    def _save_last(self, epoch: int) -> None:
        """Write last.pth; `epoch` is the last finished one."""
        self.trainer.check_finite()
        if self.record is not None:
            training = {
                "trainer": self.trainer.state_dict(),
                "best": vars(self.best),
                "listing": self.plan.listing,
                "update_size": self.plan.update_size,
            }
            self.record.save_last(self._content(epoch) | {"training": training})

    def _tracked(self) -> AbstractContextManager[None]:
        if self.record is None:
            return nullcontext()
        return self.record.tracked(
            self.settings.tracking,
            params=flatten(self.settings),
            tags=mlflow_tags(self.plan, self.record.directory.path),
            datasets=input_datasets(self.plan),
        )

    def _watched(self) -> "AbstractContextManager[SystemMonitor | None]":
        tracking = self.settings.tracking
        if self.record is None or not (tracking.enabled and tracking.system_metrics):
            return nullcontext()
        from faceparse.core.runs.system import SystemMonitor  # and MLflow with it

        return SystemMonitor()

    def _say(self, text: str) -> None:
        if self.record is not None:
            self.record.say(text)
