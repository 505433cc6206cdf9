"""The mean of probabilities, against a slow computation of it."""

import torch

from faceparse.core.model.ensemble import Ensemble
from tests.conftest import Bands
from tests.core.parser.small import small


def test_it_answers_with_the_mean_of_the_probabilities() -> None:
    torch.manual_seed(0)
    members = [small(norm="torch").eval() for _ in range(3)]
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        ensemble = Ensemble(members)
        for found, each in (
            (ensemble.parse(image), [member.parse(image) for member in members]),
            (ensemble(image).parsing, [member(image).parsing for member in members]),
        ):
            probabilities = [torch.exp(one.double()) / torch.exp(one.double()).sum(dim=1, keepdim=True) for one in each]
            expected = sum(probabilities) / 3
            assert torch.allclose(found.softmax(dim=1).double(), expected, atol=1e-6)  # type: ignore[arg-type]
            assert torch.allclose(found.exp().sum(dim=1), torch.ones(found.shape[0], *found.shape[2:]), atol=1e-5)
            assert not torch.allclose(each[0].softmax(dim=1).double(), expected, atol=1e-3)  # type: ignore[arg-type]


def test_certain_networks_stay_finite() -> None:
    class Certain(Bands):
        def forward(self, image):  # type: ignore[no-untyped-def]
            return super().forward(image)._replace(parsing=1e4 * super().forward(image).parsing)

    found = Ensemble([Certain(), Certain()]).parse(torch.randn(1, 3, 32, 32))
    assert found.isfinite().all()


def test_one_network_alone_stays_itself() -> None:
    image = torch.randn(1, 3, 32, 32)
    alone = Bands().parse(image)
    assert torch.allclose(Ensemble([Bands()]).parse(image), alone.log_softmax(dim=1), atol=1e-5)
