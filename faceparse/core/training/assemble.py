"""Build the trainer and the data loader of a training plan."""

from typing import Any

from faceparse.core.model.normalise import Normalise
from faceparse.core.sampling.loader import Loader
from faceparse.core.sampling.samples import TrainingSet, collate
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.optimizer import make_optimizer
from faceparse.core.training.plan import TrainingPlan
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.trainer import Trainer


def make_trainer(plan: TrainingPlan) -> Trainer:
    """Build the trainer of a plan. All processes must call this together."""
    settings, optim, loss, speed = plan.settings, plan.settings.optim, plan.settings.loss, plan.speed
    optimizer = make_optimizer(plan.model, optim)
    return Trainer(
        model=plan.model,
        loss=EAGRNetLoss(
            parsing=loss.parsing,
            edge=loss.edge,
            boundary_attention=loss.boundary_attention,
            dice=loss.dice,
            lovasz=loss.lovasz,
            scale=loss.scale,
            class_weights=plan.class_weights,
        ).to(plan.device),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, optim, settings.train.epochs * plan.batches.iterations),
        normalise=Normalise(settings.data).to(plan.device),
        device=plan.device,
        world=plan.world,
        accumulate=plan.batches.accumulate,
        ema=settings.train.ema,
        clip=optim.clip,
        dtype=speed.dtype,
        channels_last=speed.channels_last,
        compiled=speed.compile,
    )


def make_loader(plan: TrainingPlan) -> Loader[Any, Any]:
    """Build the loader of this process's part of each batch, in the order of `plan.batches`."""
    data = plan.settings.data
    return Loader(
        TrainingSet(plan.train, plan.label_set, data, seed=plan.settings.train.seed, cache=plan.cache),
        collate,
        device=plan.device,
        workers=data.workers,
        batches=plan.batches,
        persistent=data.persistent_workers,
        prefetch=data.prefetch,
        pin_memory=data.pin_memory,
    )
