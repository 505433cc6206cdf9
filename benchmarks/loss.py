"""Compare the loss with the plain sum of its torch calls, and count its reads from the device."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.harness import Result, medians, overhead
from faceparse.core.labels.classes import IGNORE
from faceparse.core.model.parsing import Output
from faceparse.core.training.loss import EAGRNetLoss

# Operators that make the host wait for a GPU: they read values back, or have shapes that depend on values.
SYNCHRONISING = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2")
}


class CountSyncs(TorchDispatchMode):
    """Counts the operators that make the host wait, while it is entered as a context."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func._schema.name in SYNCHRONISING
        return func(*args, **(kwargs or {}))


def run() -> list[Result]:
    """Measure the loss and count its synchronisations."""
    size = 473
    generator = torch.Generator().manual_seed(0)
    parsing = torch.randn(2, 11, 119, 119, generator=generator, requires_grad=True)
    edges = torch.randn(2, 2, 119, 119, generator=generator, requires_grad=True)
    label = torch.randint(0, 11, (2, size, size), generator=generator)
    label[:, :3] = IGNORE
    edge = torch.randint(0, 2, (2, size, size), generator=generator)
    loss = EAGRNetLoss()
    weight = torch.tensor([0.5, 0.5])

    def ours() -> None:
        loss(Output(parsing, edges), label, edge).total.backward()

    def plain() -> None:
        _plain_sum(parsing, edges, label, edge, weight).backward()

    taken, alone = medians(ours, plain, rounds=15)
    with CountSyncs() as syncs:
        ours()
    synchronisations = Result("loss: host synchronisations", taken, alone, float(syncs.count), 0, "at most")
    return [overhead("loss: against the plain sum of its torch calls", taken, alone, 1.1), synchronisations]


def _plain_sum(parsing: Tensor, edges: Tensor, label: Tensor, edge: Tensor, weight: Tensor) -> Tensor:
    """Two resizes, two cross-entropies, one weighted sum. Nothing guards against empty images."""
    size = label.shape[-2:]
    per_pixel = F.cross_entropy(
        F.interpolate(parsing, size=size, mode="bilinear"), label, ignore_index=IGNORE, reduction="none"
    )
    edge_term = F.cross_entropy(F.interpolate(edges, size=size, mode="bilinear"), edge, weight=weight)
    return per_pixel.mean() + edge_term + 4 * (per_pixel * edge).sum() / edge.sum()
