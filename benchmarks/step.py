"""Compare the training step with bare forward, backward and update, and the light heads with the paper's."""

import copy
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch.optim import SGD

from benchmarks.harness import Result, medians, overhead
from faceparse.core.model.build import build_model
from faceparse.core.model.normalise import Normalise
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.sampling.samples import Batch
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.trainer import Trainer

Heads = Literal["light", "paper"]
HEADS: tuple[Heads, Heads] = ("light", "paper")
SIZE, BATCH_SIZE, CLASSES = (129, 129), 6, 11
HEADS_SIZE, HEADS_BATCH = (256, 256), 4
"""Crop and batch to compare the heads on; the two differ in the size of their maps."""


def run() -> list[Result]:
    """Measure the training loop and the heads."""
    return [_loop(), *_heads()]


def _loop() -> Result:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(_settings("paper"), CLASSES, device)
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
    return overhead("step: the training loop, against bare forward + backward + update", taken / 2, alone / 2, goal)


def _heads() -> list[Result]:
    """Compare the heads on the same backbone: one crop forward, and one training step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    image = torch.zeros(1, 3, *HEADS_SIZE, device=device).to(memory_format=torch.channels_last)

    def forward(heads: Heads) -> Callable[[], object]:
        model = build_model(_settings(heads), CLASSES, device).eval().to(memory_format=torch.channels_last)

        @torch.inference_mode()
        def parse() -> None:
            model.parse(image).aminmax()[0].item()  # waits for a GPU

        return parse

    light, paper = medians(forward("light"), forward("paper"), rounds=15)
    steps = (make_step(HEADS_SIZE, HEADS_BATCH, heads) for heads in HEADS)
    light_step, paper_step = medians(*steps, rounds=9)
    what = f"light heads on ResNet-18, crop of {HEADS_SIZE[0]}, against the paper's"
    return [
        overhead(f"step: forward, {what}", light, paper, 0.5),
        overhead(f"step: training, {what}", light_step, paper_step, 0.5),
    ]


def _settings(heads: Heads) -> ModelSettings:
    return ModelSettings(backbone="resnet18", norm="torch", heads=heads)


def make_step(size: tuple[int, int], batch_size: int, heads: Heads = "paper") -> Callable[[], object]:
    """A function that runs one step of the training loop."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(_settings(heads), CLASSES, device)
    trainer, batch = make_trainer(model, device, size), make_batch(size, batch_size)
    return lambda: trainer.step([batch])


def make_trainer(model: ParsingModel, device: torch.device, size: tuple[int, int] = SIZE) -> Trainer:
    """A trainer with plain SGD."""
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
    """A batch of random pictures and labels."""
    image = torch.randint(0, 256, (batch_size, *size, 3), dtype=torch.uint8)
    label = torch.randint(0, CLASSES, (batch_size, *size), dtype=torch.uint8)
    edge = torch.randint(0, 2, (batch_size, *size), dtype=torch.uint8)
    return Batch(image, label, edge, torch.arange(batch_size))
