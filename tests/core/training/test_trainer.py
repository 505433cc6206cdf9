import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import TrainingError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model import build
from faceparse.core.model.build import build_model
from faceparse.core.model.normalise import Normalise
from faceparse.core.sampling.samples import Batch, TrainingSet, collate
from faceparse.core.settings import DataSettings, ModelSettings, OptimSettings
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.profile import PARTS
from faceparse.core.training.schedule import make_schedule
from faceparse.core.training.state import TrainerState
from faceparse.core.training.trainer import REPORT_EVERY, NonFiniteLossError, Progress, Trainer, parameters

CPU = torch.device("cpu")
DATA = DataSettings(input_size=(64, 64), random_scale=False)
OPTIM = OptimSettings(lr=0.01, momentum=0.9, weight_decay=5e-4)


def make_trainer(iterations: int = 10, *, fused: bool = True, **options: Any) -> Trainer:
    torch.manual_seed(0)
    model = build_model(ModelSettings(backbone="resnet18", stem="torchvision"), 11)
    optimizer = SGD(
        model.parameters(), lr=OPTIM.lr, momentum=OPTIM.momentum, weight_decay=OPTIM.weight_decay, fused=fused
    )
    return Trainer(
        model=model,
        loss=EAGRNetLoss(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, OPTIM, iterations),
        normalise=Normalise(DATA),
        device=CPU,
        **options,
    )


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone of an eighth of the channels: steps take less time."""
    monkeypatch.setattr(build, "WIDTHS", (8, 16, 32, 64))


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


@pytest.mark.parametrize("fused", [True, False])
def test_the_batch_of_a_loss_that_is_not_finite_is_named_and_updates_nothing(batch: Batch, fused: bool) -> None:
    trainer = make_trainer(fused=fused)
    bad = batch._replace(image=batch.image.float() * torch.nan, indices=torch.tensor([7, 8, 9, 10]))
    with pytest.raises(NonFiniteLossError) as caught:
        list(trainer.train_epoch([batch, batch, bad, batch]))
    assert (caught.value.iteration, caught.value.indices) == (3, [7, 8, 9, 10])
    # Three good steps and one that was passed over: the momentum, too, is that of the good ones.
    expected = make_trainer(fused=fused)
    list(expected.train_epoch([batch, batch]))
    before = copy.deepcopy(expected.model.state_dict())
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    trainer, after_bad = make_trainer(fused=fused), None
    for one in (batch, batch, bad):
        trainer.step([one])
    after_bad = dict(trainer.model.named_parameters())
    assert all(torch.equal(parameter, before[name]) for name, parameter in after_bad.items())


@pytest.mark.parametrize(("longest", "shortened"), [(0.5, True), (1e6, False)])
def test_a_gradient_that_is_too_long_is_shortened(batch: Batch, longest: float, shortened: bool) -> None:
    """Over all weights together; the step is that of plain SGD with what is left."""
    trainer, plain = make_trainer(clip=longest), make_trainer()
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.step([batch])
    plain.step([batch])
    gradients: list[Any] = [parameter.grad for parameter in plain.model.parameters()]
    length = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    assert (length > longest) == shortened
    factor = min(1.0, longest / length)
    for found, old, gradient in zip(trainer.model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(found, old - 0.01 * (factor * gradient + 5e-4 * old), rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the only update is left out
@pytest.mark.parametrize("fused", [True, False])
def test_with_clipping_a_gradient_that_is_not_finite_updates_nothing(batch: Batch, fused: bool) -> None:
    """The loss is finite, and so training goes on; without clipping the weights would be lost."""
    for clip, kept in ((1.0, True), (0.0, False)):
        trainer = make_trainer(fused=fused, clip=clip)
        trainer.model.decoder.classify.weight.register_hook(lambda gradient: gradient * torch.inf)
        before = copy.deepcopy(dict(trainer.model.named_parameters()))
        assert trainer.step([batch]).isfinite().all()
        after = dict(trainer.model.named_parameters())
        assert all(torch.equal(after[name], parameter) for name, parameter in before.items()) == kept


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
    second.load_state_dict(TrainerState.model_validate(copy.deepcopy(first.state_dict())), Path("last.pth"))
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
        return torch.tensor([10.0, 1, 2, 3, 0, 0]) * next(losses)

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
    trainer.step = lambda batches: torch.ones(6)  # type: ignore[method-assign]
    assert [progress.iteration for progress in reports(trainer, REPORT_EVERY)] == [1, REPORT_EVERY]


def test_a_step_trains_in_train_mode_whatever_was_before(batch: Batch) -> None:
    trainer = make_trainer()
    trainer.model.eval()
    before = trainer.model.decoder.deep.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    list(trainer.train_epoch([batch]))
    assert trainer.model.training
    assert not torch.equal(trainer.model.decoder.deep.norm.running_mean, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"dtype": torch.bfloat16}], ids=str)
def test_a_restored_trainer_takes_the_same_next_step(batch: Batch, options: dict[str, Any]) -> None:
    first, second = make_trainer(**options), make_trainer(**options)
    first.step([batch])
    second.model.load_state_dict(copy.deepcopy(first.best_model.state_dict()))  # as a checkpoint holds them
    second.load_state_dict(TrainerState.model_validate(copy.deepcopy(first.state_dict())), Path("last.pth"))
    assert second.iteration == 1
    first.step([batch])
    second.step([batch])
    assert_same_weights(first.model, second.model)
    assert_same_weights(first.best_model, second.best_model)


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)


def halves(batch: Batch) -> list[Batch]:
    return [Batch(*(tensor[part] for tensor in batch)) for part in (slice(0, 2), slice(2, 4))]


def test_accumulated_gradients_are_the_mean_of_those_of_the_batches(batch: Batch) -> None:
    trainer = make_trainer(accumulate=2)
    copied = copy.deepcopy(trainer.model)
    losses = trainer.step(halves(batch))
    expected = [EAGRNetLoss()(copied(trainer.normalise(b.image)), b.label.long(), b.edge.long()) for b in halves(batch)]
    torch.stack([terms.total for terms in expected]).mean().backward()
    assert float(losses[0]) == pytest.approx(float(sum(terms.total.detach() for terms in expected)) / 2, rel=1e-5)
    for found, separate in zip(trainer.model.parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(found.grad, separate.grad, rtol=1e-3, atol=1e-4)
    assert trainer.iteration == 1


def test_an_epoch_takes_several_batches_for_an_iteration(batch: Batch) -> None:
    trainer = make_trainer(accumulate=2)
    (*_, found) = trainer.train_epoch(halves(batch) * 3)
    assert (found.iteration, trainer.iteration) == (3, 3)


def test_the_average_follows_the_weights(batch: Batch) -> None:
    """avg <- d avg + (1 - d) new, d = min(decay, (1 + n) / (10 + n)), statistics included, counters copied."""
    trainer = make_trainer(ema=0.25)
    expected = {name: tensor.double() for name, tensor in trainer.model.state_dict().items()}
    for n in (1, 2, 3):
        trainer.step([batch])
        decay = min(0.25, (1 + n) / (10 + n))
        for name, new in trainer.model.state_dict().items():
            kept = expected[name] if new.is_floating_point() else new.double()
            expected[name] = decay * kept + (1 - decay) * new.double()
    for name, found in trainer.best_model.state_dict().items():
        torch.testing.assert_close(found.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert trainer.best_model is not trainer.model
    assert not any(parameter.requires_grad for parameter in trainer.best_model.parameters())


def test_without_an_average_the_network_itself_is_the_best() -> None:
    trainer = make_trainer()
    assert trainer.best_model is trainer.model


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({"channels_last": False}, 5e-3), ({"fused": False}, 0), ({"dtype": torch.bfloat16}, 0.03)],
    ids=str,
)
def test_what_is_faster_trains_the_same(batch: Batch, options: dict[str, Any], tolerance: float) -> None:
    plain, fast = make_trainer(), make_trainer(**options)
    for _ in range(2):
        expected = plain.step([batch])
        torch.testing.assert_close(fast.step([batch]), expected, rtol=tolerance, atol=0)
    assert all(parameter.dtype == torch.float32 for parameter in fast.model.parameters())


def test_forward_and_backward_have_the_type_that_was_chosen(batch: Batch) -> None:
    trainer, seen = make_trainer(dtype=torch.bfloat16), []
    trainer.model.decoder.register_forward_hook(lambda *arguments: seen.append(arguments[2].dtype))
    trainer.step([batch])
    assert seen == [torch.bfloat16]


def test_a_compiled_network_trains_the_same(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, but not handed to the C++ compiler, which takes minutes."""
    backends = []
    real = torch.compile

    def traced(network: Any) -> Any:
        backends.append("eager")
        return real(network, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    plain, compiled = make_trainer(), make_trainer(compiled=True)
    assert backends == ["eager"]
    for _ in range(2):
        torch.testing.assert_close(compiled.step([batch]), plain.step([batch]), rtol=1e-4, atol=0)
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())


def test_the_parts_of_a_step_are_named_for_the_profiler(batch: Batch) -> None:
    trainer = make_trainer()
    with torch.profiler.profile() as profiler:
        list(trainer.train_epoch([batch]))
    counts = {event.key: event.count for event in profiler.key_averages()}
    assert {name: counts.get(name) for name in PARTS} == {name: 2 if name == "load" else 1 for name in PARTS}


def test_parameters_are_counted() -> None:
    assert parameters(torch.nn.Linear(3, 4)) == 16


@pytest.mark.parametrize("fused", [True, False])
def test_a_frozen_backbone_keeps_its_weights_and_statistics_and_goes_on_later_as_if_never_stopped(
    batch: Batch, fused: bool
) -> None:
    trainer = make_trainer(fused=fused)
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.freeze(True)
    list(trainer.train_epoch([batch, batch]))
    after = trainer.model.state_dict()
    for name, tensor in before.items():
        if name.startswith("backbone."):
            assert torch.equal(tensor, after[name]), name
    assert not torch.equal(before["decoder.classify.weight"], after["decoder.classify.weight"])
    after = copy.deepcopy(after)
    resumed = make_trainer(fused=fused)
    resumed.model.load_state_dict(after)
    resumed.load_state_dict(TrainerState.model_validate(copy.deepcopy(trainer.state_dict())), Path("last.pth"))
    for one in (trainer, resumed):
        one.freeze(False)
        one.start_epoch()
        list(one.train_epoch([batch, batch]))
    assert not torch.equal(
        before["backbone.stem.0.conv.weight"], trainer.model.state_dict()["backbone.stem.0.conv.weight"]
    )
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
