"""Registration of a verified export as a version in MLflow's model registry."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from faceparse import __version__
from faceparse.core.errors import SettingsError
from faceparse.core.export.bundle import fill_bundle
from faceparse.core.export.export import ExportReport
from faceparse.core.export.formats import FORMATS, PAGES
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.runs.database import tracking_uri
from faceparse.core.runs.registry import LATEST, OURS, Registration
from faceparse.core.runtime.checksums import BUNDLE, MODEL
from faceparse.core.scoring.evaluation import tracked_at, tracked_run
from faceparse.core.scoring.split import Split
from faceparse.core.settings import load_settings

_SCORES = ("f1_mean", "miou", "pixel_accuracy", "f1/", "f1_merged/")
"""Beginnings of the names of scores that become tags."""


def plan_registration(
    checkpoint: TrainedModel, name: str, alias: str | None, formats: Sequence[str], *, warn: Callable[[str], None]
) -> Registration:
    """Plan a registration, and check everything that can fail before the work.

    The model goes to the store that tracks the checkpoint's run, else to the store of the settings.

    Args:
        warn: called with a message when a database was moved.

    Raises:
        SettingsError: the name or the format cannot be registered.
        TrackingError: MLflow cannot be reached.
    """
    if len(formats) > 1:
        raise SettingsError("--register: takes one format at a time, so that the alias is one version's; name one")
    (format_name,) = formats
    if format_name in PAGES or not FORMATS[format_name].servable:
        served = ", ".join(key for key, known in FORMATS.items() if known.servable)
        why = "runs in browsers" if format_name in PAGES else "needs PyTorch or OpenVINO where it runs"
        raise SettingsError(f"--register: {format_name} {why}; a registered model is one of {served}")
    uri, run_id = tracked_run(checkpoint) or (tracked_at(checkpoint) or tracking_uri(load_settings().tracking), None)
    registration = Registration(uri, name, alias or LATEST, run_id, checkpoint.settings.tracking.experiment)
    registration.check(warn=warn)
    return registration


def register_report(registration: Registration, report: ExportReport, scored_on: Split | None) -> str:
    """Register the exported file as a bundle with its checksums. Return models:/NAME/VERSION.

    Raises:
        TrackingError: MLflow did not accept it; nothing is registered.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / BUNDLE
        if report.path.is_dir():
            shutil.copytree(report.path, bundle)
        else:
            bundle.mkdir()
            shutil.copyfile(report.path, bundle / f"{MODEL}{FORMATS[report.format].suffix}")
            fill_bundle(bundle, report.model, report.format, report.summary, scored_on)
        return registration.register(bundle, tags=_tags(report, scored_on), step=report.model.epoch or 0)


def _tags(report: ExportReport, scored_on: Split | None) -> dict[str, str]:
    """Tags by which a user chooses a version.

    Scores are those of this file where it was scored, else those of the checkpoint on `val`.
    """
    model = report.model
    height, width = model.settings.data.input_size
    tags = {
        OURS: __version__,
        "format": report.format,
        **({"dataset": model.trained_on.name} if model.trained_on else {}),
        "label_set": model.label_set.name,
        "classes": ",".join(model.label_set.names),
        "input_size": f"{height}x{width}",
    }
    if model.epoch is not None:
        tags["epoch"] = str(model.epoch)
    split, scores = "val", model.scores
    if report.scores is not None and scored_on is not None:
        split, scores = scored_on.name, report.scores.flat()
        tags |= {"scored_on": scored_on.root.name, "scored_images": str(len(scored_on.samples))}
    return tags | {f"{split}/{name}": f"{value:.4f}" for name, value in scores.items() if name.startswith(_SCORES)}
