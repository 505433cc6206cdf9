"""Compare the light network with ready-made decoders, and with itself without each of its parts, on photographs.

    python -m benchmarks accuracy

All networks start from the same ImageNet weights of MobileNetV2, see the same photographs in the same order with the
same augmentation, and train for the same CPU time. So a network with a cheaper step takes more steps, with its own
cosine schedule. Needs dataset/CelebAMask-HQ and the decoders of segmentation-models-pytorch; each network takes some
minutes.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Result, medians, overhead
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.abn import norm_layer
from faceparse.core.model.build import light_heads
from faceparse.core.model.imagenet import imagenet_file
from faceparse.core.model.mobilenet import mobilenet_v2
from faceparse.core.model.normalise import Normalise
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.sampling.batch_order import EpochSampler
from faceparse.core.sampling.cache import open_cache
from faceparse.core.sampling.loader import Loader
from faceparse.core.sampling.samples import TrainingSet, collate
from faceparse.core.scoring.counting import evaluate
from faceparse.core.scoring.scores import Scores, compute_scores
from faceparse.core.settings import DataSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.optimizer import make_optimizer
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.trainer import Trainer

ROOT = Path("dataset/CelebAMask-HQ")
BUDGET = float(os.environ.get("ACCURACY_SECONDS", "150"))
"""CPU seconds of training for each network."""
PHOTOGRAPHS = 2048
SIZE, BATCH = (160, 160), 16
DATA = DataSettings.model_validate(
    {"root": ROOT, "input_size": SIZE, "random_mirror": True, "rotation_sigma": 15.0, "color_jitter": 0.3, "workers": 1}
)
OPTIM = OptimSettings.model_validate(
    {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-2, "schedule": "cosine", "warmup": 40, "clip": 5.0}
)
RARE = ("eye_g", "hat", "ear_r", "neck_l")
LABELS = get_label_set("celebamask-hq")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Contestant:
    """A network and the loss that it is trained with."""

    name: str
    build: Callable[[], ParsingModel]
    edge: float = 1.0
    boundary: float = 4.0
    dice: float = 0.0


class Peer(ParsingModel):
    """A network of segmentation-models-pytorch, from the same ImageNet weights."""

    align_corners = False

    def __init__(self, network: Any) -> None:
        super().__init__(network.encoder)
        self.network = network

    def forward(self, image: Tensor) -> Output:
        """Logits without an edge map."""
        return Output(self.network(image), None)


def light(**parts: Any) -> Callable[[], ParsingModel]:
    """Builds our light network; `parts` are arguments of `light_heads`."""

    def build() -> ParsingModel:
        backbone = mobilenet_v2()
        backbone.network.load_state_dict(_weights(backbone.network.state_dict()))
        return light_heads(backbone, len(LABELS), norm_layer("torch", CPU), **parts)

    return build


def peer(kind: str, **options: Any) -> Callable[[], ParsingModel]:
    """Builds the network `kind` of segmentation-models-pytorch."""

    def build() -> ParsingModel:
        import segmentation_models_pytorch as smp

        network = getattr(smp, kind)("mobilenet_v2", encoder_weights=None, classes=len(LABELS), **options)
        network.encoder.load_state_dict(_weights(network.encoder.state_dict()), strict=False)
        return Peer(network)

    return build


def _weights(expected: dict[str, Tensor]) -> dict[str, Tensor]:
    state = torch.load(imagenet_file("mobilenet_v2"), weights_only=True)
    return {key: state[key] for key in expected}


OURS = Contestant("light network", light())
PEERS = [
    Contestant("FPN", peer("FPN"), edge=0, boundary=0),
    Contestant("SegFormer's head", peer("Segformer"), edge=0, boundary=0),
    Contestant("DeepLabV3+", peer("DeepLabV3Plus"), edge=0, boundary=0),
    Contestant("U-Net", peer("Unet"), edge=0, boundary=0),
    Contestant("FPN with the boundary term", peer("FPN"), edge=0),
]
ABLATION = [
    Contestant("without the edge head", light(edge_head=False), edge=0),
    Contestant("with a graph", light(graph=True)),
    Contestant("without surroundings", light(surroundings=0)),
    Contestant("with the Dice term", light(), dice=1),
    Contestant("without the boundary term", light(), boundary=0),
    Contestant("without edge head and boundary term", light(edge_head=False), edge=0, boundary=0),
]


def run() -> list[Result]:
    """Train all networks, print their scores, and return the results."""
    ours, costs = _train(OURS), {}
    rows, results = [_row(OURS, ours)], []
    mine = OURS.build()
    for contestant in PEERS:
        theirs = _train(contestant)
        rows.append(_row(contestant, theirs))
        costs[contestant.name], my_cost = _forward(contestant.build()), _forward(mine)
        what = f"accuracy: mean F1 of the light network against {contestant.name}, same CPU time of training"
        results.append(Result(what, ours.mean_f1, theirs.mean_f1, ours.mean_f1 / theirs.mean_f1, 1.0, "at least", "F1"))
        what = f"accuracy: forward pass of the light network against {contestant.name}"
        results.append(overhead(what, my_cost, costs[contestant.name], 1.0))
    rows += [_row(contestant, _train(contestant)) for contestant in ABLATION]
    print("\n".join(["| network | all 18 | 14 not rare |", "|---|---|---|", *rows]))
    return results


def _row(contestant: Contestant, scores: Scores) -> str:
    common = [value for name, value in scores.f1.items() if name not in ("background", *RARE) and value is not None]
    return f"| {contestant.name} | {scores.mean_f1:.3f} | {sum(common) / len(common):.3f} |"


def _train(contestant: Contestant) -> Scores:
    """Train a network and return its scores on `val`, under the protocol `label`."""
    torch.manual_seed(0)
    samples = DatasetFolder(ROOT).samples("train")[:PHOTOGRAPHS]
    cache, _ = open_cache(samples, "auto")
    batches = EpochSampler(len(samples), batch_size=BATCH, seed=0)
    dataset = TrainingSet(samples, LABELS, DATA, seed=0, cache=cache)
    loader = Loader(dataset, collate, device=CPU, workers=DATA.workers, batches=batches, persistent=True)
    model = contestant.build()
    step = _step_time(contestant, next(iter(loader)))
    iterations = max(20, round(BUDGET / step))
    trainer = _trainer(contestant, model, iterations)
    model.train()
    started, done = time.process_time(), 0
    while done < iterations:
        batches.epoch += 1
        for batch, _ in zip(loader, range(iterations - done), strict=False):
            trainer.step([batch])
            done += 1
    spent = time.process_time() - started
    network = ParsingNetwork(trainer.best_model.eval(), DATA)
    val = DatasetFolder(ROOT).samples("val")
    confusion = evaluate(Parser(network, CPU), val, len(LABELS), ["label"], batch_size=BATCH, workers=1)["label"]
    scores = compute_scores(confusion, LABELS)
    print(f"{contestant.name}: {iterations} steps, {spent:.0f} s of CPU, mean F1 {scores.mean_f1:.3f}", flush=True)
    return scores


def _trainer(contestant: Contestant, model: ParsingModel, iterations: int) -> Trainer:
    optimizer = make_optimizer(model, OPTIM)
    return Trainer(
        model=model,
        loss=EAGRNetLoss(edge=contestant.edge, boundary_attention=contestant.boundary, dice=contestant.dice),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, OPTIM, iterations),
        normalise=Normalise(DATA),
        device=CPU,
        clip=OPTIM.clip,
        ema=0.99,
        dtype=torch.bfloat16,
    )


def _step_time(contestant: Contestant, batch: Any) -> float:
    """CPU seconds of one step: median of seven, on a copy."""
    trainer = _trainer(contestant, contestant.build(), 100)
    trainer.model.train()
    times = []
    for _ in range(7):
        started = time.process_time()
        trainer.step([batch])
        times.append(time.process_time() - started)
    return sorted(times)[3]


@torch.inference_mode()
def _forward(model: ParsingModel) -> float:
    """Seconds from one crop of 256 x 256 to logits of the same size, in float32."""
    image = torch.zeros(1, 3, 256, 256).to(memory_format=torch.channels_last)
    model.eval().to(memory_format=torch.channels_last)
    (taken,) = medians(lambda: F.interpolate(model(image).parsing, (256, 256), mode="bilinear"), rounds=21)
    return taken
