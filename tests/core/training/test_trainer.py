import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from faceparse.core.data.dataset import Batch, Normalise, TrainingSet, collate
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import TrainingError
from faceparse.core.labels import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.schedule import poly_schedule
from faceparse.core.training.trainer import REPORT_EVERY, NonFiniteLossError, Progress, Trainer, parameters

CPU = torch.device("cpu")
DATA = DataSettings(input_size=(64, 64), random_scale=False)
OPTIM = OptimSettings(lr=0.01, momentum=0.9, weight_decay=5e-4)


def make_trainer(iterations: int = 10) -> Trainer:
    torch.manual_seed(0)
    model = build_model(ModelSettings(backbone="resnet18", stem="torchvision"), 11)
    optimizer = SGD(
        model.parameters(), lr=OPTIM.lr, momentum=OPTIM.momentum, weight_decay=OPTIM.weight_decay, fused=True
    )
    return Trainer(
        model=model,
        loss=EAGRNetLoss(),
        optimizer=optimizer,
        schedule=poly_schedule(optimizer, OPTIM, iterations),
        normalise=Normalise(DATA),
        device=CPU,
    )


@pytest.fixture
def batch(faces: Path) -> Batch:
    """The first four training faces."""
    dataset = TrainingSet(DatasetFolder(faces).samples("train"), get_label_set("helen"), DATA, seed=0)
    return collate([dataset[0, index] for index in range(4)])


def test_three_steps_are_sgd_with_momentum_and_weight_decay(batch: Batch) -> None:
    trainer = make_trainer()
    velocity = [torch.zeros_like(parameter) for parameter in trainer.model.parameters()]
    for i in range(3):
        copied = copy.deepcopy(trainer.model)
        loss = trainer.step([batch])[0]
        expected = EAGRNetLoss()(copied(trainer.normalise(batch.image)), batch.label.long(), batch.edge.long())
        assert float(loss) == pytest.approx(float(expected.total.detach()), rel=1e-5)
        copied.zero_grad()
        expected.total.backward()
        for found, before, v in zip(trainer.model.parameters(), copied.parameters(), velocity, strict=True):
            torch.testing.assert_close(found.grad, before.grad, rtol=1e-4, atol=1e-5)
            with torch.no_grad():
                v.mul_(0.9).add_(before.grad + 5e-4 * before)  # type: ignore[operator]
                rate = 0.01 * (1 - i / 10) ** 0.9
                torch.testing.assert_close(found, before - rate * v, rtol=1e-5, atol=1e-7)
    assert trainer.iteration == 3


def test_the_loss_falls_on_what_is_learned(batch: Batch) -> None:
    trainer = make_trainer(iterations=60)
    losses = [list(trainer.train_epoch([batch] * 6))[-1].losses for _ in range(3)]
    assert losses[2]["loss"] < losses[1]["loss"] < losses[0]["loss"]
    assert losses[2]["loss_parsing"] < 0.8 * losses[0]["loss_parsing"]


def test_a_loss_that_is_not_finite_ends_training_by_name(batch: Batch) -> None:
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.decoder.classify.bias.fill_(torch.nan)
    with pytest.raises(TrainingError) as caught:
        list(trainer.train_epoch([batch]))
    expected = "the loss is not finite at iteration 1; lower optim.lr or check the dataset"
    assert str(caught.value) == expected


def test_the_batch_of_a_loss_that_is_not_finite_is_named_and_updates_nothing(batch: Batch) -> None:
    trainer = make_trainer()
    bad = batch._replace(image=batch.image.float() * torch.nan, indices=torch.tensor([7, 8, 9, 10]))
    with pytest.raises(NonFiniteLossError) as caught:
        list(trainer.train_epoch([batch, batch, bad, batch]))
    assert (caught.value.iteration, caught.value.indices) == (3, [7, 8, 9, 10])
    # Three good steps and one that was passed over: the momentum, too, is that of the good ones.
    expected = make_trainer()
    list(expected.train_epoch([batch, batch]))
    before = copy.deepcopy(expected.model.state_dict())
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    trainer, after_bad = make_trainer(), None
    for one in (batch, batch, bad):
        trainer.step([one])
    after_bad = dict(trainer.model.named_parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in after_bad.items())


def test_an_epoch_goes_on_where_it_was_left(batch: Batch) -> None:
    whole, first = make_trainer(), make_trainer()
    (*_, expected) = whole.train_epoch([batch] * 5)

    class StoppedError(Exception):
        pass

    def stop() -> None:
        if first.done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        list(first.train_epoch([batch] * 5, stop))
    second = make_trainer()
    second.model.load_state_dict(copy.deepcopy(first.model.state_dict()))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    (*_, found) = second.train_epoch([batch] * 2)
    assert (found.iteration, found.losses, found.lr) == (expected.iteration, expected.losses, expected.lr)
    states = zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    (again,) = second.train_epoch([])  # nothing is left of it, and its means are still known
    assert (again.iteration, again.losses, again.lr) == (expected.iteration, expected.losses, expected.lr)
    second.start_epoch()
    (*_, fresh) = second.train_epoch([batch])
    assert fresh.iteration == 1
    assert fresh.losses != expected.losses


def reports(trainer: Trainer, batches: int) -> Iterator[Progress]:
    empty = torch.empty(4)
    return trainer.train_epoch([Batch(empty, empty, empty, empty)] * batches)


def test_progress_is_the_mean_of_the_epoch_so_far() -> None:
    trainer = make_trainer()
    losses = iter(range(1, 100))

    def step(batches: object) -> Tensor:
        return torch.tensor([10.0, 1, 2, 3]) * next(losses)

    trainer.step = step  # type: ignore[method-assign]
    found = list(reports(trainer, 2 * REPORT_EVERY + 3))
    assert [progress.iteration for progress in found] == [1, REPORT_EVERY, 2 * REPORT_EVERY, 2 * REPORT_EVERY + 3]
    for progress in found:
        mean = (progress.iteration + 1) / 2
        expected = {"loss": 10 * mean, "loss_parsing": mean, "loss_edge": 2 * mean, "loss_boundary_attention": 3 * mean}
        assert progress.losses == pytest.approx(expected)
        assert progress.images_per_second > 0


def test_an_epoch_reports_its_end_once() -> None:
    trainer = make_trainer()
    trainer.step = lambda batches: torch.ones(4)  # type: ignore[method-assign]
    assert [progress.iteration for progress in reports(trainer, REPORT_EVERY)] == [1, REPORT_EVERY]


def test_a_step_trains_in_train_mode_whatever_was_before(batch: Batch) -> None:
    trainer = make_trainer()
    trainer.model.eval()
    before = trainer.model.decoder.deep.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    list(trainer.train_epoch([batch]))
    assert trainer.model.training
    assert not torch.equal(trainer.model.decoder.deep.norm.running_mean, before)  # type: ignore[arg-type]


def test_a_restored_trainer_takes_the_same_next_step(batch: Batch) -> None:
    first, second = make_trainer(), make_trainer()
    first.step([batch])
    second.model.load_state_dict(copy.deepcopy(first.model.state_dict()))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.iteration == 1
    first.step([batch])
    second.step([batch])
    states = zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)


def test_parameters_are_counted() -> None:
    assert parameters(torch.nn.Linear(3, 4)) == 16
