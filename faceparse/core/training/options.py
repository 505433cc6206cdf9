"""The options of a training, as the command and `faceparse.train` take them, and the job that they ask for."""

from collections.abc import Mapping
from pathlib import Path

from faceparse.core.errors import SettingsError
from faceparse.core.settings import SettingsSource, settings_from
from faceparse.core.training.launch import LENGTH, Display, Job, resume_job

PLACES = {
    "device": "train.device",
    "processes": "launch.processes",
    "nodes": "launch.nodes",
    "rendezvous": "launch.rendezvous",
    "max_restarts": "launch.max_restarts",
}
"""Option -> setting, of those that say where a run runs. They do not change what is trained."""
OPTIONS = PLACES | {
    "data_dir": "data.root",
    "label_set": "data.label_set",
    "num_classes": "data.num_classes",
    "input_size": "data.input_size",
    "folds": "data.folds",
    "random_mirror": "data.random_mirror",
    "random_scale": "data.random_scale",
    "restore_from": "model.pretrained",
    "mapping": "model.mapping",
    "freeze": "model.freeze",
    "learning_rate": "optim.lr",
    "weight_decay": "optim.weight_decay",
    "epochs": LENGTH,
    "batch_size": "train.batch_size",
    "snapshot_dir": "train.run_dir",
}
"""Option -> setting, of all."""


def chosen_settings(options: Mapping[str, object]) -> dict[str, object]:
    """Settings by `section.key`, of the options that are not None. An option may be a setting's own name, too."""
    return {OPTIONS.get(name, name): value for name, value in options.items() if value is not None}


def training_job(
    source: SettingsSource,
    options: Mapping[str, object],
    resume: str | Path | None,
    display: Display,
    *,
    settings: Mapping[str, object] | None = None,
) -> Job:
    """The job of a new run, or of one that goes on.

        start(training_job("experiments/fasseg.toml", {"epochs": 10}, None, TrainingDisplay))

    Args:
        source: settings of a new run.
        options: values of `OPTIONS` or of settings, which come before those of `source`. None stands for no value.
        settings: values by `section.key`, which come before all others.
        resume: run directory to go on with, to another last epoch if `options` name one; `auto` takes the newest
            unfinished run with these settings, or begins one.

    Raises:
        SettingsError: an unknown key, a bad value, or settings together with the run directory of another run.
    """
    chosen = chosen_settings(options) | dict(settings or {})
    if resume is None:
        return Job(settings_from(source, chosen), display)
    if resume == "auto":
        return Job(settings_from(source, chosen), display, "auto")
    changed = {key: value for key, value in chosen.items() if key in (*PLACES.values(), LENGTH)}
    if source is not None or len(changed) < len(chosen):
        raise SettingsError(
            "--resume goes on with the run's own settings; drop the other options, but for --epochs and those of where "
            "it runs (--gpus, --device, --processes, --nodes, --rendezvous, --max-restarts). A run with others can "
            f"start from its weights: --restore-from {Path(resume) / 'last.pth'} in place of --resume"
        )
    return resume_job(Path(resume), display, changed)
