"""Describe a run: tags and datasets for MLflow, lines and pictures for the user."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

import faceparse
from faceparse.core.datasets.layout import Sample
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.overlay import colour_label, contact_sheet, overlay
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.parser.inference import Parser
from faceparse.core.runs.directory import BEST
from faceparse.core.runs.git import git_tags
from faceparse.core.runs.tracking_record import InputDataset
from faceparse.core.scoring.counting import parse_samples
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import flat_name
from faceparse.core.settings import RESNETS, Settings
from faceparse.core.training.plan import TrainingPlan
from faceparse.core.training.trainer import parameters


def logged_name(metric: str, label_set: LabelSet) -> str:
    """Name of a score on `val` in metrics.jsonl and MLflow: `mean_f1` -> `val/f1_mean`."""
    return f"val/{flat_name(metric, label_set)}"


def mlflow_tags(plan: TrainingPlan, run_dir: Path) -> dict[str, str]:
    """Tags of the MLflow run."""
    device = plan.device
    return {
        "mlflow.source.name": "faceparse train",
        "mlflow.source.type": "LOCAL",
        "dataset": plan.settings.data.root.resolve().name,
        "label_set": plan.label_set.name,
        "protocol": DEFAULT,
        "best_metric": logged_name(plan.metric, plan.label_set),
        "run_dir": str(run_dir.resolve()),
        "faceparse": faceparse.__version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() or "cpu",
        "processes": str(plan.world.size),
        "speed": str(plan.speed),
        **({"pretrained": str(plan.start)} if plan.start else {}),
        **{f"fingerprint.{split}": value for split, value in plan.fingerprint.items()},
        **git_tags(Path.cwd()),
    }


def input_datasets(plan: TrainingPlan) -> list[InputDataset]:
    """The splits as MLflow datasets; `val` is the one that chooses best.pth. Empty without fingerprints."""
    root, val_split = plan.settings.data.root.resolve(), plan.settings.data.val_split
    roles = (("train", "train", plan.train), ("val", val_split, plan.val))
    return [
        InputDataset(root.name, plan.fingerprint[split], str(root), role, len(samples), plan.label_set.name)
        for role, split, samples in roles
        if plan.fingerprint
    ]


def opening_lines(plan: TrainingPlan, run_dir: Path | None) -> list[str]:
    """Lines that the user reads before the first epoch; train.log keeps them, too."""
    settings, model = plan.settings, plan.settings.model
    norm = [type(module).__name__ for module in plan.model.modules() if hasattr(module, "running_mean")][-1]
    parts = [f"{model.stem} stem"] * (model.backbone in RESNETS) + ["light heads"] * model.light + [norm]
    processes = f" in {plan.world.size} processes" if plan.world.size > 1 else ""
    seen, data = plan.seen, settings.data
    fold = f"fold {data.fold} of {data.folds}, held out of train and val: its photographs choose {BEST}"
    lines = [
        f"run directory {run_dir}" if run_dir else "",
        f"{model.backbone} ({', '.join(parts)}), {parameters(plan.model) / 1e6:.1f} M parameters, "
        f"{len(plan.label_set)} classes of {plan.label_set.name}, on {plan.device.type}{processes} ({plan.speed})",
        f"{len(plan.train)} training and {len(plan.val)} {settings.data.val_split} photographs, "
        f"{plan.batches.iterations} iterations an epoch, {plan.update_size} photographs each",
        _unused(plan),
        fold if data.fold is not None else "",
        plan.cached,
        _patience(plan),
        f"{seen} of the {len(plan.val)} {settings.data.val_split} photographs {'is' if seen == 1 else 'are'} trained "
        "on, too: scores on them say nothing of new photographs; see faceparse check"
        if seen
        else "",
    ]
    return [line for line in lines if line]


def _unused(plan: TrainingPlan) -> str:
    """Line on photographs that fill no batch, if they are a tenth or more."""
    batches, count = plan.batches, len(plan.train)
    unused = count - batches.iterations * plan.update_size
    if batches.shares is not None or batches.draws > count or 10 * unused < count:
        return ""
    return (
        f"each epoch leaves out {unused} of the {count} training photographs, at random: they fill no batch of "
        f"{plan.update_size}; a smaller train.batch_size may leave out fewer"
    )


def _patience(plan: TrainingPlan) -> str:
    train = plan.settings.train
    if not train.patience:
        return ""
    return (
        f"train.patience = {train.patience}: training stops after {_epochs(train.patience * train.evaluate_every)} "
        f"without a better {logged_name(plan.metric, plan.label_set)}"
        + (f", and then lacks the end of the schedule, which is epoch {train.epochs}" if _falls(plan.settings) else "")
    )


def _epochs(number: int, more: str = "") -> str:
    return f"{number} {more}epoch{'s' if number != 1 else ''}"


def early_end(plan: TrainingPlan, epoch: int, rate: float) -> str:
    """Line on a run that `train.patience` ends after `epoch`; `rate` is the learning rate of the next iteration."""
    train = plan.settings.train
    cut = (
        f"; the learning rate is {rate:.3g}, and its fall to 0 in {_epochs(train.epochs - epoch, 'more ')} is cut off"
        if _falls(plan.settings)
        else ""
    )
    return (
        f"stopped after epoch {epoch} of {train.epochs}: train.patience = {train.patience} evaluations without a "
        f"better {logged_name(plan.metric, plan.label_set)}{cut}"
    )


def new_end(settings: Settings, before: Settings, rate_before: float, rate: float) -> str:
    """Line on a resumed run with another number of epochs. The rates are those of the next iteration."""
    epochs, was = settings.train.epochs, before.train.epochs
    if epochs == was:
        return f"trains on to epoch {epochs}; train.patience counts anew"
    schedule = f": the learning rate is {rate:.3g} (it was {rate_before:.3g}) and falls to 0 there"
    return f"trains to epoch {epochs} instead of {was}{schedule if _falls(settings) else ''}"


def _falls(settings: Settings) -> bool:
    """Whether the learning rate falls to 0 at the end of training."""
    return settings.optim.schedule != "poly" or settings.optim.power > 0


def overlay_sheet(parser: Parser, samples: Sequence[Sample], label_set: LabelSet) -> bytes:
    """PNG with a row for each sample: photograph, truth and prediction over it, prediction."""
    palette = label_set.palette()
    rows = []
    parsed = parse_samples(parser, samples, len(label_set), ["label"])
    for sample, by_protocol in zip(samples, parsed, strict=True):
        image, (truth, prediction) = read_image(sample.image), by_protocol["label"]
        painted = [overlay(image, label, palette) for label in (truth, prediction)]
        rows.append([image, *painted, colour_label(prediction, palette)])
    return encode_png(contact_sheet(rows))
