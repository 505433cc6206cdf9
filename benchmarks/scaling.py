"""Compute how training should scale from 1 to 256 GPUs. This is not measured.

    python -m benchmarks.scaling --step 0.1

All processes form one ring, machine after machine, and a message goes around it in hops. A long message is as fast as
the narrowest link; a short one takes the sum of its hops' latencies.
"""

import argparse
from dataclasses import dataclass

import torch

from faceparse.core.model.abn import ActivatedBatchNorm
from faceparse.core.model.build import build_model
from faceparse.core.settings import ModelSettings, TrainSettings
from faceparse.core.training.loss import LossTerms
from faceparse.core.training.trainer import parameters

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PER_MACHINE = 8
FLOAT = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Link:
    """A network link, with the numbers that vendors state."""

    bandwidth: float
    """Bytes per second."""
    latency: float
    """Seconds per hop."""


NVLINK = Link(200e9, 2e-6)
NETWORKS = {"100 Gbit/s": Link(12.5e9, 10e-6), "400 Gbit/s": Link(50e9, 10e-6)}


@dataclass(frozen=True)
class Traffic:
    """Messages between processes for one update, without votes, which go from host to host meanwhile."""

    gradients: int
    """Bytes of all gradients."""
    norms: tuple[int, ...]
    """Channels of each norm layer: mean and variance forward, two sums backward."""
    terms: int
    """Terms of the loss: one sum of the divisors, one of the results."""


@dataclass(frozen=True)
class Step:
    """Times of one step, in seconds."""

    gradients: float
    norms: float
    total: float
    efficiency: float
    """Share of the speed of as many GPUs that need not communicate."""


def traffic(settings: ModelSettings, num_classes: int = 11) -> Traffic:
    """Traffic of a network."""
    with torch.device("meta"):
        model = build_model(settings, num_classes, torch.device("meta"))
    norms = tuple(module.num_features for module in model.modules() if isinstance(module, ActivatedBatchNorm))
    return Traffic(FLOAT * parameters(model), norms, len(LossTerms._fields))


def all_reduce(size: float, gpus: int, network: Link) -> float:
    """Seconds to sum `size` bytes everywhere: `gpus` parts go around the ring twice, except for two hops."""
    narrowest = network if gpus > PER_MACHINE else NVLINK
    return 2 * (gpus - 1) / gpus * size / narrowest.bandwidth + _hops(2 * (gpus - 1), gpus, network)


def all_gather(size: float, gpus: int, network: Link) -> float:
    """Seconds until all have the `size` bytes of each: they go around the ring once, except for one hop."""
    narrowest = network if gpus > PER_MACHINE else NVLINK
    return (gpus - 1) * size / narrowest.bandwidth + _hops(gpus - 1, gpus, network)


def _hops(count: int, gpus: int, network: Link) -> float:
    """Latency of `count` hops on the longest way, which avoids links within a machine."""
    machines = -(-gpus // PER_MACHINE)
    between = 0 if machines == 1 else machines * -(-count // gpus)
    return between * network.latency + (count - between) * NVLINK.latency


def step(sent: Traffic, gpus: int, network: Link, alone: float, overlap: float) -> Step:
    """Times of a step on `gpus` GPUs.

    Args:
        alone: seconds that a step takes on one GPU.
        overlap: share of backward, two thirds of a step, during which gradients travel at no cost.
    """
    gradients = all_reduce(sent.gradients, gpus, network)
    norms = sum(
        all_gather(2 * channels * FLOAT, gpus, network) + all_reduce(2 * channels * FLOAT, gpus, network)
        for channels in sent.norms
    )
    losses = 2 * all_reduce(sent.terms * FLOAT, gpus, network)
    total = alone + max(0.0, gradients - overlap * alone * 2 / 3) + norms + losses
    return Step(gradients, norms, total, alone / total)


def table(sent: Traffic, batch_size: int, alone: float, overlap: float) -> str:
    """Markdown table of all numbers of GPUs and all networks."""
    names = " | ".join(f"{name}: gradients | step | efficiency" for name in NETWORKS)
    wide = 4 + 3 * len(NETWORKS)
    lines = [f"| GPUs | photographs an update | norms | {names} | photographs/s to read |", "|---" * wide + "|"]
    for gpus in GPUS:
        steps = [step(sent, gpus, network, alone, overlap) for network in NETWORKS.values()]
        shown = " | ".join(f"{_ms(one.gradients)} | {_ms(one.total)} | {one.efficiency:.0%}" for one in steps)
        read = min(gpus, PER_MACHINE) * batch_size / steps[-1].total
        lines.append(f"| {gpus} | {gpus * batch_size} | {_ms(steps[0].norms)} | {shown} | {read:.0f} |")
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def main() -> None:
    """Print the table for the options of the command line."""
    parser = argparse.ArgumentParser(description="Expected scaling of training, computed and not measured.")
    parser.add_argument("--step", type=float, default=0.1, help="assumed seconds of a step on one GPU")
    parser.add_argument("--overlap", type=float, default=0.0, help="share of backward that hides gradients")
    parser.add_argument("--batch-size", type=int, default=TrainSettings().batch_size)
    options = parser.parse_args()
    sent = traffic(ModelSettings(norm="torch"))
    print(
        f"{sent.gradients / 1e6:.0f} MB of gradients, {len(sent.norms)} norm layers with {sum(sent.norms)} channels; "
        f"assumed: {_ms(options.step)} a step on one GPU, of {options.batch_size} photographs\n"
    )
    print(table(sent, options.batch_size, options.step, options.overlap))


if __name__ == "__main__":
    main()
