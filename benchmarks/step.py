"""The training loop's step against the bare forward, backward and update of the same net."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch.optim import SGD

from benchmarks.harness import Result, medians, overhead
from faceparse.core.data.dataset import Batch, Normalise
from faceparse.core.model.build import build_model
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.trainer import Trainer

SIZE, BATCH_SIZE, CLASSES = (129, 129), 6, 11


def run() -> list[Result]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(ModelSettings(backbone="resnet18", norm="torch"), CLASSES, device)
    bare = copy.deepcopy(model).to(memory_format=torch.channels_last)
    trainer, loss = make_trainer(model, device), EAGRNetLoss()
    optimizer = SGD(bare.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    batch = make_batch()
    ready = trainer.normalise(batch.image.to(device))
    label, edge = batch.label.long().to(device), batch.edge.long().to(device)

    def batches() -> Iterator[Batch]:
        for _ in range(2):
            yield batch

    def ours() -> None:
        for _ in trainer.train_epoch(batches()):
            pass

    def floor() -> None:
        for _ in range(2):
            terms = loss(bare(ready), label, edge)
            optimizer.zero_grad(set_to_none=True)
            terms.total.backward()
            optimizer.step()
        terms.total.item()

    taken, alone = medians(ours, floor, rounds=15)
    goal = 1.05 if device.type == "cuda" else 1.03
    return [overhead("step: the training loop, against bare forward + backward + update", taken / 2, alone / 2, goal)]


def make_step(size: tuple[int, int], batch_size: int) -> Callable[[], object]:
    """One step of the training loop."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(ModelSettings(backbone="resnet18", norm="torch"), CLASSES, device)
    trainer, batch = make_trainer(model, device, size), make_batch(size, batch_size)
    return lambda: trainer.step([batch])


def make_trainer(model: ParsingModel, device: torch.device, size: tuple[int, int] = SIZE) -> Trainer:
    optimizer = SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    return Trainer(
        model=model,
        loss=EAGRNetLoss(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, OptimSettings(), 10**6),
        normalise=Normalise(DataSettings(input_size=size)).to(device),
        device=device,
    )


def make_batch(size: tuple[int, int] = SIZE, batch_size: int = BATCH_SIZE) -> Batch:
    image = torch.randint(0, 256, (batch_size, *size, 3), dtype=torch.uint8)
    label = torch.randint(0, CLASSES, (batch_size, *size), dtype=torch.uint8)
    edge = torch.randint(0, 2, (batch_size, *size), dtype=torch.uint8)
    return Batch(image, label, edge, torch.arange(batch_size))
