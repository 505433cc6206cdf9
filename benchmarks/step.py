"""The training loop's step against the bare forward, backward and update of the same net."""

import copy
from collections.abc import Iterator

import torch
from torch.optim import SGD

from benchmarks.harness import Result, medians, overhead
from faceparse.core.data.dataset import Batch, Normalise
from faceparse.core.model.build import build_model
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.schedule import poly_schedule
from faceparse.core.training.trainer import Trainer


def run() -> list[Result]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, batch_size = (129, 129), 6
    model = build_model(ModelSettings(backbone="resnet18", norm="torch"), 11, device)
    bare = copy.deepcopy(model)
    settings = DataSettings(input_size=size)
    loss = EAGRNetLoss()
    optimizer, bare_optimizer = (
        SGD(m.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True) for m in (model, bare)
    )
    trainer = Trainer(
        model=model,
        loss=loss,
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, OptimSettings(), 1000),
        normalise=Normalise(settings).to(device),
        device=device,
    )
    image = torch.randint(0, 256, (batch_size, *size, 3), dtype=torch.uint8)
    label = torch.randint(0, 11, (batch_size, *size), dtype=torch.uint8)
    edge = torch.randint(0, 2, (batch_size, *size), dtype=torch.uint8)
    batch = Batch(image, label, edge, torch.arange(batch_size))
    ready = trainer.normalise(image.to(device))
    ready_label, ready_edge = label.long().to(device), edge.long().to(device)

    def batches() -> Iterator[Batch]:
        for _ in range(2):
            yield batch

    def ours() -> None:
        for _ in trainer.train_epoch(batches()):
            pass

    def floor() -> None:
        for _ in range(2):
            terms = loss(bare(ready), ready_label, ready_edge)
            bare_optimizer.zero_grad(set_to_none=True)
            terms.total.backward()
            bare_optimizer.step()
        terms.total.item()

    taken, alone = medians(ours, floor, rounds=15)
    return [overhead("step: the training loop, against bare forward + backward + update", taken / 2, alone / 2, 1.05)]
