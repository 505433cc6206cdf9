"""The commands' work as Python functions: `prepare`, `edges`, `train`, `train_folds` and `evaluate`."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

from faceparse.core.text.arguments import named_as_in_python

if TYPE_CHECKING:
    from faceparse.core.api import FaceParser
    from faceparse.core.datasets.edges import EdgesReport
    from faceparse.core.datasets.prepare_report import PrepareReport
    from faceparse.core.images.warp import Size
    from faceparse.core.machine.parallel import Track
    from faceparse.core.parser.trained import TrainedModel
    from faceparse.core.scoring.summary import Evaluation
    from faceparse.core.settings import SettingsSource
    from faceparse.core.sweeps.folds import FoldsResult
    from faceparse.core.training.launch import Display
    from faceparse.core.training.observer import Observer
    from faceparse.core.training.run import RunResult

LOGGER = logging.getLogger("faceparse")
"""Gets notes and warnings where no progress is shown. Python prints warnings unless the caller decides otherwise."""


class _OfEach(TypedDict, total=False):
    to: Literal["files", "webdataset", "parquet"]
    processes: int


class _OfAligned(_OfEach, total=False):
    align: str
    size: int
    template: str | Path
    on_missing: str


class _OfIBugMask(_OfAligned, total=False):
    label_set: str
    val: float
    seed: int


class _OfFolder(_OfIBugMask, total=False):
    images: str
    labels: str
    annotations: str | Path
    mapping: str | Path
    ignored: int | str
    splits: str | Path
    group: str | Path
    test: float
    on_broken: Literal["fail", "skip"]


class _OfDrawn(_OfEach, total=False):
    count: int
    size: int
    val: float
    test: float
    seed: int


@overload
def prepare(
    source: Literal["helen", "lapa", "celebamask-hq", "fasseg"],
    raw: str | Path,
    out: str | Path,
    /,
    *,
    progress: "bool | Track" = False,
    **options: Unpack[_OfAligned],
) -> "PrepareReport": ...
@overload
def prepare(
    source: Literal["ibugmask"],
    raw: str | Path,
    out: str | Path,
    /,
    *,
    progress: "bool | Track" = False,
    **options: Unpack[_OfIBugMask],
) -> "PrepareReport": ...
@overload
def prepare(
    source: Literal["folder"],
    raw: str | Path,
    out: str | Path,
    /,
    *,
    progress: "bool | Track" = False,
    **options: Unpack[_OfFolder],
) -> "PrepareReport": ...
@overload
def prepare(
    source: Literal["synthetic"],
    out: str | Path,
    /,
    *,
    progress: "bool | Track" = False,
    **options: Unpack[_OfDrawn],
) -> "PrepareReport": ...
@named_as_in_python
def prepare(
    source: str, /, *folders: str | Path, progress: "bool | Track" = False, **options: object
) -> "PrepareReport":
    """Write a raw dataset in the canonical layout, as `faceparse prepare` does.

        faceparse.prepare("synthetic", "dataset/drawn", count=40, size=128)
        faceparse.prepare("folder", "my-photos", "dataset/mine", label_set="helen", labels="masks/*.png")

    Args:
        source: helen, lapa, celebamask-hq, ibugmask, fasseg, folder or synthetic.
        folders: the raw dataset (its folder or archive), then the folder to write; for synthetic only the latter.
        progress: whether to show a progress bar; or a function that passes items on and shows it.
        options: the options of `faceparse prepare SOURCE` by their names, such as label_set, val, align or processes.

    Raises:
        SettingsError: no such source, an option that it does not take, or a bad value.
        DatasetError: the raw dataset cannot be read; one message names all broken photographs.
        OutputError: the folder cannot be written, holds something else, or another process is preparing it.
    """
    from faceparse.core.datasets.prepare_by_name import prepare_by_name
    from faceparse.core.errors import SettingsError

    if not 1 <= len(folders) <= 2:
        raise SettingsError(f"prepare {source}: name the raw dataset and the folder to write; synthetic has only that")
    *raw, out = (_path(folder) for folder in folders)
    return prepare_by_name(source, raw[0] if raw else None, out, options, track=_track(progress))


@named_as_in_python
def edges(
    dataset_dir: str | Path, *, force: bool = False, processes: int | None = None, progress: "bool | Track" = False
) -> "EdgesReport":
    """Make the edge maps that training needs, as `faceparse edges` does. Training makes missing ones, too.

    Args:
        dataset_dir: dataset folder; its labels/ are read, its edges/ are written.
        force: make those that are up to date again, too.
        processes: number of parallel processes. Default: one per core.
        progress: whether to show a progress bar; or a function that passes items on and shows it.

    Raises:
        DatasetError: no such folder, no labels in it, or a label cannot be read.
        OutputError: the edge maps cannot be written.
    """
    from faceparse.core.datasets.edges import update_edges
    from faceparse.core.machine.parallel import default_processes

    folder, count = _path(dataset_dir), _at_least(1, "processes", processes) or default_processes()
    return update_edges(folder, force=force, processes=count, track=_track(progress))


@named_as_in_python
def train(
    settings: "SettingsSource" = None,
    *,
    resume: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    input_size: "Size | str | None" = None,
    label_set: str | None = None,
    num_classes: int | None = None,
    restore_from: str | Path | None = None,
    mapping: str | Path | None = None,
    freeze: int | str | None = None,
    snapshot_dir: str | Path | None = None,
    random_mirror: bool | None = None,
    random_scale: bool | None = None,
    progress: "bool | Observer" = False,
) -> "RunResult":
    """Train a network in this process, as `faceparse train` does, with the same numbers.

        run = faceparse.train("experiments/fasseg.toml", epochs=50, progress=True)
        run = faceparse.train({"data.root": "dataset/drawn", "model.backbone": "resnet18"}, epochs=2)
        parser = faceparse.load(run.best)

    The run directory and MLflow get what the command gives them. Ctrl-C, or the notebook's stop, ends the run after
    its step with an InterruptedRunError; `resume` goes on with it. The caller's random numbers on the CPU are kept.

    Args:
        settings: TOML file; a dict by section.key or by section and key; or `Settings`. Default: the paper's recipe.
        resume: run directory to go on with, whose settings count; `auto`: the newest unfinished run with these
            settings, or a new one where there is none. With `epochs`, a run directory goes on to that epoch, also if
            it is finished.
        progress: whether to show the run as the command does; or an `Observer` that is told of it.

    The other arguments are the command's options of the same names. Each replaces one setting. Several GPUs or
    processes need the command.

    Raises:
        SettingsError: an unknown setting or a bad value.
        FaceparseError: something in dataset, weights, device or disk stands in the way, or the run was interrupted.
    """
    options = {
        "data_dir": data_dir,
        "device": device,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "input_size": input_size,
        "label_set": label_set,
        "num_classes": num_classes,
        "restore_from": str(restore_from) if restore_from is not None else None,
        "mapping": mapping,
        "freeze": freeze,
        "snapshot_dir": snapshot_dir,
        "random_mirror": random_mirror,
        "random_scale": random_scale,
    }
    _silence()  # before MLflow is imported
    import torch

    from faceparse.core.training.launch import must_be_one_process, start
    from faceparse.core.training.options import training_job

    job = training_job(settings, options, resume, _display(progress))
    must_be_one_process(job.settings)
    with torch.random.fork_rng(devices=[]):
        return start(job)


@named_as_in_python
def train_folds(
    settings: "SettingsSource" = None,
    folds: int | None = None,
    *,
    resume: str | Path | None = None,
    snapshot_dir: str | Path | None = None,
    progress: "bool | Observer" = False,
) -> "FoldsResult":
    """Train a network for each fold of train and val in this process, as `faceparse train --folds` does.

        result = faceparse.train_folds("experiments/fasseg.toml", 3)
        result.evaluation.scores["eagrnet"].mean_f1    # of all photographs, out of fold
        parser = faceparse.load(result.path)           # the ensemble

    Args:
        settings: as of `train`.
        folds: number of folds. Default: `data.folds` of the settings.
        resume: folder of folds to go on with, whose settings count.
        snapshot_dir: folder to write. Default: a new one of the experiment.
        progress: as of `train`.

    Raises:
        SettingsError: an unknown setting, a bad value, no number of folds, or other arguments together with `resume`.
        FaceparseError: something in dataset, weights, device or disk stands in the way, or a fold was interrupted.
    """
    _silence()  # before MLflow is imported
    import torch

    from faceparse.core.errors import SettingsError
    from faceparse.core.sweeps import folds as sweep
    from faceparse.core.training.launch import must_be_one_process
    from faceparse.core.training.options import training_job

    with torch.random.fork_rng(devices=[]):
        if resume is not None:
            if (settings, folds, snapshot_dir) != (None, None, None):
                raise SettingsError("resume goes on with the folds' own settings; drop the other arguments")
            return sweep.resume_folds(_path(resume), _display(progress))
        job = training_job(settings, {"folds": folds, "snapshot_dir": snapshot_dir}, None, _display(progress))
        must_be_one_process(job.settings)
        if job.settings.data.folds is None:
            raise SettingsError("train_folds: say how many folds, such as 3, here or as data.folds of the settings")
        return sweep.train_folds(job.settings, job.display)


@named_as_in_python
def evaluate(
    model: "str | Path | FaceParser | TrainedModel",
    data_dir: str | Path | None = None,
    *,
    split: str = "test",
    protocol: str | Sequence[str] = "eagrnet",
    tta: str | None = None,
    tta_scales: str | None = None,
    groups: str | Path | None = None,
    output: str | Path | None = None,
    bootstrap: int = 1000,
    worst: int = 12,
    device: str | None = None,
    batch_size: int | None = None,
    input_size: "Size | str | None" = None,
    label_set: str | None = None,
    num_classes: int | None = None,
    mapping: str | Path | None = None,
    trust: bool = False,
    progress: "bool | Track" = False,
) -> "Evaluation":
    """Score a model on a dataset, as `faceparse eval` does. Nothing is written without `output`.

        scores = faceparse.evaluate(run.best).scores["eagrnet"]
        scores.mean_f1, scores.f1["hair"]

    Args:
        model: name or path, as `load` takes it; or what `load` returned, whose device and crop then count.
        data_dir: dataset folder. Default: the one that the model was trained on.
        split: train, val or test.
        protocol: eagrnet, label, farl or segface; or several of them.
        tta: views to average: `flip`, `scales` or `flip,scales`; `tta_scales` are the factors, such as `0.75,1,1.25`.
        groups: CSV file with more groups of the photographs: a column id or image, then columns such as sex or age.
        output: folder for report.html, scores.json and images.csv. With it, the scores also go to the model's MLflow
            run, as the command's do.
        bootstrap: resamples of the images for the intervals; 0 leaves them out.
        worst: how many of the worst images to draw.
        mapping: mapping file to the classes that are scored. Default: a known mapping where the classes differ.
        trust: whether a file that could run code may be loaded, as for `load`.
        progress: whether to show a progress bar; or a function that passes items on and shows it.

    The other arguments are the command's options of the same names.

    Raises:
        CheckpointError: there is no such model, or it cannot be scored on these labels.
        SettingsError: a bad value, or no mapping between the classes.
        DatasetError: the dataset or the split does not exist, a file is broken, or `groups` does not group its
            photographs.
        OutputError: `output` cannot be written, or holds other files.
    """
    _silence()  # before MLflow is imported
    from faceparse.core.machine.device import resolve_device
    from faceparse.core.scoring.built_in_groups import photograph_groupings
    from faceparse.core.scoring.evaluation import run_evaluations, warn_of_seen
    from faceparse.core.scoring.groups_file import read_groups
    from faceparse.core.scoring.score_model import plan_evaluations, score_checkpoint
    from faceparse.core.scoring.tta import resolve_augmentation
    from faceparse.core.settings import parse_input_size

    trained, own_device, own_size = _trained(model, trust)
    size = parse_input_size(input_size) if input_size is not None else own_size
    warn = _warn(progress)
    batch = _at_least(1, "batch_size", batch_size)
    resamples, drawn = _at_least(0, "bootstrap", bootstrap) or 0, _at_least(0, "worst", worst) or 0
    (plan,) = plan_evaluations(
        [trained],
        data_dir=_path(data_dir) if data_dir is not None else None,
        split=split,
        protocols=[protocol] if isinstance(protocol, str) else list(protocol),
        input_size=size,
        dataset=label_set,
        num_classes=num_classes,
        augmentation=resolve_augmentation(tta, tta_scales),
        mapping=_path(mapping) if mapping is not None else None,
    )
    grouped = _path(groups) if groups is not None else None
    where, track = resolve_device(device or own_device or "auto"), _track(progress)
    if output is None:
        own_groups = read_groups(grouped, plan.split, warn=warn) if grouped is not None else ()
        warn_of_seen(plan.split, [plan.model], warn)
        built_in = photograph_groupings(plan.split.samples, plan.split.label_set, track=track)
        return score_checkpoint(
            plan,
            device=where,
            batch_size=batch,
            resamples=resamples,
            worst=drawn,
            groupings=(*own_groups, *built_in),
            track=track,
        )
    report = run_evaluations(
        [plan],
        device=where,
        output=_path(output),
        batch_size=batch,
        resamples=resamples,
        worst=drawn,
        groups=grouped,
        warn=warn,
        track=track,
    )
    return report.evaluations[0]


def _trained(
    model: "str | Path | FaceParser | TrainedModel", trust: bool
) -> "tuple[TrainedModel, str | None, Size | None]":
    """The model, and the device and crop that the caller loaded it with, if any."""
    from faceparse.core.api import FaceParser
    from faceparse.core.errors import SettingsError
    from faceparse.core.load import load_model_from
    from faceparse.core.parser.trained import TrainedModel

    if isinstance(model, TrainedModel):
        return model, None, None
    if isinstance(model, FaceParser):
        if model.model is None:
            raise SettingsError("evaluate: this parser was made from a network alone; take one from faceparse.load")
        return model.model, str(model.device), model.input_size
    if not isinstance(model, str | Path):
        raise SettingsError(f"evaluate: a {type(model).__name__}; give a model's name, its path, or what load returned")
    return load_model_from(model, trust=trust), None, None


def _silence() -> None:
    from faceparse.commands.console import silent_loggers

    silent_loggers()


def _path(path: str | Path) -> Path:
    """The path, if a file can have it. An empty text would else become the working folder."""
    from faceparse.core.errors import SettingsError
    from faceparse.core.text.paths import utf8_problem

    if not isinstance(path, str | Path):
        raise SettingsError(f"{path!r}: a {type(path).__name__}; give a path")
    if problem := utf8_problem(path):
        raise SettingsError(f"path: {problem}")
    return Path(path)


def _at_least(least: int, name: str, value: int | None) -> "int | None":
    from faceparse.core.errors import SettingsError

    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
        raise SettingsError(f"{name} = {value!r}: give a whole number, {least} or more")
    return value


def _track(progress: "bool | Track") -> "Track":
    from faceparse.commands.console import track
    from faceparse.core.machine.parallel import untracked

    if callable(progress):
        return progress
    return track if progress else untracked


def _warn(progress: object) -> Callable[[str], None]:
    from faceparse.commands.console import err

    return (lambda text: err.print(f"warning: {text}")) if progress is True else LOGGER.warning


def _display(progress: "bool | Observer") -> "Display":
    """The display of a training: the command's, the caller's observer, or the logger alone."""
    from faceparse.commands.training_display import TrainingDisplay
    from faceparse.core.training.observer import Bystander

    class Logged(Bystander):
        """Tells the logger of messages and warnings."""

        def message(self, text: str) -> None:
            LOGGER.info(text)

        def warning(self, text: str) -> None:
            LOGGER.warning(text)

    def shown() -> "AbstractContextManager[Observer]":
        if progress is True:
            return TrainingDisplay()
        return nullcontext(Logged() if progress is False else progress)

    return shown
