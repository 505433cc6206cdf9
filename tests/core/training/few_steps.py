"""A few training steps in one of several processes, as a script: RANK and WORLD_SIZE say in which.

    python -m tests.core.training.few_steps OUT BATCH_SIZE STEPS BACKBONE...

In float64: from random weights, float32 rounding grows a thousandfold in five steps, with any change of order. And of
64 x 64 pixels: where a light backbone's last map is one pixel, it grows as much in each.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD

from faceparse.core.machine.distributed import World, join
from faceparse.core.model import build
from faceparse.core.model.build import build_model
from faceparse.core.model.normalise import Normalise
from faceparse.core.sampling.samples import Batch
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.trainer import Trainer

SIZE, PHOTOGRAPHS = (64, 64), 4


def main(out: Path, batch_size: int, steps: int, backbones: list[str]) -> None:
    """Write losses and weights by backbone. `PHOTOGRAPHS` make an update, however they are shared out."""
    with join(torch.device("cpu"), timeout=60) as world:
        found = {backbone: train(backbone, batch_size, steps, world) for backbone in backbones}
        if world.is_first:
            torch.save(found, out)


def train(backbone: str, batch_size: int, steps: int, world: World) -> dict[str, Any]:
    """Losses of all steps, and the weights after them."""
    torch.manual_seed(0)
    build.WIDTHS = (8, 16, 32, 64)  # of ResNet: an eighth of the channels
    device = torch.device("cpu")
    network = ModelSettings(backbone=backbone, stem="torchvision", norm="torch")
    model = build_model(network, 11, device, world.data).double()
    if not world.is_first:
        for tensor in model.state_dict().values():
            tensor.zero_()  # whose weights and statistics are those to start from
    normalise = Normalise(DataSettings(input_size=SIZE))
    optimizer = SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    trainer = Trainer(
        model=model,
        loss=EAGRNetLoss(dice=0.5, lovasz=0.5, scale=2.0),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, OptimSettings(), 100),
        normalise=lambda image: normalise(image).double(),  # type: ignore[arg-type]
        device=device,
        world=world,
    )
    model.train()
    losses = [trainer.step(batches(step, world.rank, world.size, batch_size)) for step in range(steps)]
    return {"losses": torch.stack(losses), "weights": model.state_dict()}


def batches(step: int, rank: int, size: int, batch_size: int) -> list[Batch]:
    """Each photograph has a share of its own of ignored and of edge pixels; the first has no edges."""
    random = torch.Generator().manual_seed(step)
    image = torch.randint(0, 256, (PHOTOGRAPHS, *SIZE, 3), dtype=torch.uint8, generator=random)
    label = torch.randint(0, 11, (PHOTOGRAPHS, *SIZE), dtype=torch.uint8, generator=random)
    edge = torch.zeros(PHOTOGRAPHS, *SIZE, dtype=torch.uint8)
    for index in range(1, PHOTOGRAPHS):
        label[index, : 5 * index] = 255
        edge[index, :, : 2 + 3 * index] = 1
    firsts = range(rank * batch_size, PHOTOGRAPHS, size * batch_size)
    parts = [slice(first, first + batch_size) for first in firsts]
    return [Batch(image[part], label[part], edge[part], torch.arange(PHOTOGRAPHS)[part]) for part in parts]


if __name__ == "__main__":
    out, batch_size, steps, *backbones = sys.argv[1:]
    main(Path(out), int(batch_size), int(steps), backbones)
