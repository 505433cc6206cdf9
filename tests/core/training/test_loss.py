from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from faceparse.core.model.parsing import Output
from faceparse.core.training.loss import EAGRNetLoss, LossTerms, count_pixels


def random_batch(seed: int = 0, size: tuple[int, int] = (12, 9)) -> tuple[Output, Tensor, Tensor]:
    """Logits of 2 images at about a third of the label's size; a fifth of the pixels are ignored, a quarter edges."""
    random = torch.Generator().manual_seed(seed)
    parsing = torch.randn(2, 5, 4, 3, generator=random, requires_grad=True)
    edge_logits = torch.randn(2, 2, 4, 3, generator=random, requires_grad=True)
    label = torch.randint(0, 5, (2, *size), generator=random)
    label[torch.rand(label.shape, generator=random) < 0.2] = 255
    edge = (torch.rand(label.shape, generator=random) < 0.25).long()
    return Output(parsing, edge_logits), label, edge


def slow_resize(maps: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """C x h x w -> C x H x W: bilinear, pixel centres at (i + 0.5), corners not aligned."""
    _, h, w = maps.shape
    resized = np.empty((len(maps), *size))
    for i in range(size[0]):
        for j in range(size[1]):
            y = max((i + 0.5) * h / size[0] - 0.5, 0)
            x = max((j + 0.5) * w / size[1] - 0.5, 0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            upper = maps[:, top, left] * (1 - (x - left)) + maps[:, top, right] * (x - left)
            lower = maps[:, bottom, left] * (1 - (x - left)) + maps[:, bottom, right] * (x - left)
            resized[:, i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return resized


def slow_terms(output: Output, label: Tensor, edge: Tensor, weights: Sequence[float] = (1.0,) * 5) -> dict[str, float]:
    """Pixel by pixel, as the paper words it; `weights` are of the classes."""
    size = label.shape[1:]
    all_edges = sum(int(v) for v in edge.flatten())
    share = all_edges / edge.numel()
    parsing_sum = parsing_count = edge_sum = edge_weight = boundary = 0.0
    for n in range(len(label)):
        parsing_logits = slow_resize(output.parsing[n].detach().double().numpy(), size)
        edge_logits = slow_resize(output.edge[n].detach().double().numpy(), size)
        on_edges = 0.0
        for i in range(size[0]):
            for j in range(size[1]):
                truth, is_edge = int(label[n, i, j]), int(edge[n, i, j])
                entropy = 0.0
                if truth != 255:
                    logits = parsing_logits[:, i, j]
                    logits = logits + np.log(weights)
                    entropy = weights[truth] * float(np.log(np.exp(logits).sum()) - logits[truth])
                    parsing_sum += entropy
                    parsing_count += 1
                on_edges += entropy * is_edge
                weight = 1 - share if is_edge else share
                logits = edge_logits[:, i, j]
                edge_sum += weight * float(np.log(np.exp(logits).sum()) - logits[is_edge])
                edge_weight += weight
        if edge[n].any():
            boundary += on_edges / int(edge[n].sum())
    return {
        "parsing": parsing_sum / parsing_count if parsing_count else 0.0,
        "edge": edge_sum / edge_weight if edge_weight else 0.0,
        "boundary_attention": boundary / len(label),
    }


def check(output: Output, label: Tensor, edge: Tensor) -> dict[str, float]:
    """The loss against the slow terms; its gradient must be finite."""
    weights = {"parsing": 1.0, "edge": 1.0, "boundary_attention": 4.0}
    terms = EAGRNetLoss(**weights)(output, label, edge)
    expected = slow_terms(output, label, edge)
    found = {name: float(getattr(terms, name)) for name in expected}
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    total = sum(weights[name] * value for name, value in expected.items())
    assert float(terms.total.detach()) == pytest.approx(total, rel=1e-4, abs=1e-6)
    terms.total.backward()
    assert output.parsing.grad is not None and output.parsing.grad.isfinite().all()
    assert output.edge.grad is not None and output.edge.grad.isfinite().all()
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_term_is_the_pixel_by_pixel_sum(seed: int) -> None:
    assert all(value > 0 for value in check(*random_batch(seed)).values())


def test_an_image_without_edges_adds_nothing_to_boundary_attention() -> None:
    output, label, edge = random_batch()
    both = slow_terms(output, label, edge)["boundary_attention"]
    edge[0] = 0
    found = check(output, label, edge)
    second = slow_terms(Output(output.parsing[1:], output.edge[1:]), label[1:], edge[1:])["boundary_attention"]
    assert found["boundary_attention"] == pytest.approx(second / 2, rel=1e-4)
    assert found["boundary_attention"] < both


def test_a_batch_without_edges_has_a_finite_loss_and_gradient() -> None:
    output, label, edge = random_batch()
    found = check(output, label, torch.zeros_like(edge))
    assert found["edge"] == found["boundary_attention"] == 0.0
    assert not output.edge.grad.any()  # type: ignore[union-attr]


def test_a_batch_of_edges_alone_has_a_finite_loss_and_gradient() -> None:
    output, label, edge = random_batch()
    found = check(output, label, torch.ones_like(edge))
    assert found["edge"] == 0.0
    assert found["boundary_attention"] > 0


@pytest.mark.parametrize("edges", [True, False])
def test_a_batch_that_is_ignored_altogether_has_a_finite_loss_and_gradient(edges: bool) -> None:
    output, label, edge = random_batch()
    found = check(output, torch.full_like(label, 255), edge if edges else torch.zeros_like(edge))
    assert found["parsing"] == found["boundary_attention"] == 0.0
    assert not output.parsing.grad.any()  # type: ignore[union-attr]


def test_ignored_pixels_have_no_gradient() -> None:
    output, label, edge = random_batch()
    output = Output(
        torch.randn(2, 5, *label.shape[1:], requires_grad=True), torch.randn(2, 2, *label.shape[1:], requires_grad=True)
    )
    EAGRNetLoss()(output, label, edge).total.backward()
    gradient = output.parsing.grad.abs().sum(dim=1)  # type: ignore[union-attr]
    assert torch.equal(gradient == 0, label == 255)


def test_weights_and_scale_make_the_total() -> None:
    output, label, edge = random_batch()
    expected = slow_terms(output, label, edge)
    terms = EAGRNetLoss(parsing=0.5, edge=3, boundary_attention=0.25, scale=2)(output, label, edge)
    total = 2 * (0.5 * expected["parsing"] + 3 * expected["edge"] + 0.25 * expected["boundary_attention"])
    assert float(terms.total.detach()) == pytest.approx(total, rel=1e-4)
    assert float(terms.edge) == pytest.approx(expected["edge"], rel=1e-4)  # the terms themselves are not scaled
    assert terms.total.requires_grad
    assert not terms.edge.requires_grad


def test_a_pixel_weighs_as_much_as_its_class() -> None:
    """In both parsing terms, which stay means over pixels; the edge term does not know of classes."""
    output, label, edge = random_batch()
    weights = [0.5, 1.0, 4.0, 2.0, 0.25]
    terms = EAGRNetLoss(class_weights=torch.tensor(weights))(output, label, edge)
    expected = slow_terms(output, label, edge, weights)
    assert {name: float(getattr(terms, name)) for name in expected} == pytest.approx(expected, rel=1e-4)
    assert expected["parsing"] != pytest.approx(slow_terms(output, label, edge)["parsing"], rel=0.01)


def test_class_weights_are_not_of_the_state() -> None:
    assert EAGRNetLoss(class_weights=torch.ones(5)).state_dict() == {}


def test_without_edge_logits_the_edge_term_is_zero_and_the_others_stay() -> None:
    output, label, edge = random_batch()
    expected, found = EAGRNetLoss()(output, label, edge), EAGRNetLoss()(Output(output.parsing, None), label, edge)
    assert float(found.edge) == 0
    assert (found.parsing, found.boundary_attention) == (expected.parsing, expected.boundary_attention)
    assert float(found.total.detach()) == pytest.approx(float((expected.total - expected.edge).detach()), rel=1e-5)


class NoLooking(TorchDispatchMode):
    """Raises where a value is read back to the host: on a GPU that waits for everything queued before it."""

    WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.WAITS:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("look", [lambda x: x.item(), lambda x: bool(x > 0), torch.nonzero, float])
def test_looking_is_noticed(look: Callable[[Tensor], object]) -> None:
    x = torch.ones(1)
    with pytest.raises(AssertionError, match="waits for the device"), NoLooking():
        look(x)


def test_nothing_waits_for_the_device() -> None:
    output, label, edge = random_batch()
    with NoLooking():
        EAGRNetLoss(dice=1, lovasz=1)(output, label, edge).total.backward()


def test_the_loss_needs_no_values_at_all() -> None:
    output, label, edge = random_batch()
    there = Output(*(logits.detach().to("meta").requires_grad_() for logits in output))
    terms = EAGRNetLoss(dice=1, lovasz=1)(there, label.to("meta"), edge.to("meta"))
    terms.total.backward()  # `.item()`, `bool()` and boolean masks raise on the meta device
    assert [term.shape for term in terms] == [torch.Size([])] * len(LossTerms._fields)
    assert there.edge.grad is not None


def test_class_weights_leave_the_best_answer_unweighed() -> None:
    """Pixels that look alike are of class 1 in a fifth of the cases: that is what a network should learn to say."""
    label = torch.tensor([1] * 20 + [0] * 80).view(1, 10, 10)
    edge = torch.zeros(1, 10, 10, dtype=torch.long)
    logit = torch.zeros(1, requires_grad=True)
    loss = EAGRNetLoss(class_weights=torch.tensor([0.5, 6.0]))
    optimizer = torch.optim.LBFGS([logit], max_iter=100)

    def closure() -> float:
        optimizer.zero_grad()
        parsing = torch.stack([torch.zeros(1), logit]).view(1, 2, 1, 1).expand(1, 2, 10, 10)
        total = loss(Output(parsing, None), label, edge).total
        total.backward()
        return float(total.detach())

    optimizer.step(closure)
    assert torch.sigmoid(logit).item() == pytest.approx(0.2, abs=1e-3)


def slow_dice(parsing: Tensor, label: Tensor) -> float:
    """Of every second pixel of every second row, one after the other."""
    classes, size = parsing.shape[1], label.shape[1:]
    shared, found, true = np.zeros(classes), np.zeros(classes), np.zeros(classes)
    for n in range(len(label)):
        logits = slow_resize(parsing[n].detach().double().numpy(), size)
        for i in range(0, size[0], 2):
            for j in range(0, size[1], 2):
                if (truth := int(label[n, i, j])) != 255:
                    answer = np.exp(logits[:, i, j]) / np.exp(logits[:, i, j]).sum()
                    shared[truth] += answer[truth]
                    found += answer
                    true[truth] += 1
    there = true > 0
    return float((1 - 2 * shared[there] / (found[there] + true[there])).mean())


@pytest.mark.parametrize("absent", [False, True])
def test_dice_is_one_minus_the_soft_f1_of_the_classes_that_are_there(absent: bool) -> None:
    output, label, edge = random_batch()
    if absent:
        label[label == 3] = 1
    without, terms = EAGRNetLoss()(output, label, edge), EAGRNetLoss(dice=0.5)(output, label, edge)
    assert float(terms.dice) == pytest.approx(slow_dice(output.parsing, label), rel=1e-5)
    assert float((terms.total - without.total).detach()) == pytest.approx(0.5 * float(terms.dice), rel=1e-4)
    assert float(without.dice) == 0


def test_dice_of_a_batch_that_is_ignored_altogether_is_zero() -> None:
    output, label, edge = random_batch()
    terms = EAGRNetLoss(dice=1)(output, torch.full_like(label, 255), edge)
    terms.total.backward()
    assert float(terms.dice) == 0
    assert not output.parsing.grad.any()  # type: ignore[union-attr]


def test_the_dice_terms_of_two_processes_add_up_to_that_of_one_large_batch() -> None:
    """So do the gradients, although the batch's sums stand below the line."""
    output, label, edge = random_batch()
    output.parsing.data, whole_edges = output.parsing.data.double(), output.edge.detach()
    whole = EAGRNetLoss(parsing=0, edge=0, boundary_attention=0, dice=1)
    whole(output, label, edge).total.backward()
    expected, output.parsing.grad = output.parsing.grad, None

    halves = [slice(0, 1), slice(1, 2)]
    brought: list[Tensor] = []

    def share(part: slice, total: Callable[[Tensor], Tensor]) -> float:
        terms = whole(Output(output.parsing[part], whole_edges[part]), label[part], edge[part], total)
        terms.total.backward()
        return float(terms.dice)

    def take(x: Tensor) -> Tensor:
        brought.append(x)
        return x

    for part in halves:
        share(part, take)
    output.parsing.grad = None
    counts, sums = brought[0] + brought[2], brought[1] + brought[3]
    found = sum(share(part, lambda x: counts if x.shape == counts.shape else sums) for part in halves)
    assert found == pytest.approx(float(whole(output, label, edge).dice))
    assert torch.allclose(output.parsing.grad, expected)


def jaccard_loss(wrong: set[int], true: set[int]) -> float:
    """1 - IoU of the class `true` where the pixels of `wrong` are taken for the other class."""
    return 1 - len(true - wrong) / len(true | wrong)


def extension(errors: Sequence[float], order: Sequence[int], true: set[int]) -> float:
    """Sum over the pixels in this order: each error times the rise of the Jaccard loss when its pixel is wrong, too."""
    return sum(
        errors[pixel] * (jaccard_loss(set(order[: n + 1]), true) - jaccard_loss(set(order[:n]), true))
        for n, pixel in enumerate(order)
    )


def slow_lovasz(parsing: Tensor, label: Tensor) -> float:
    """Of every second pixel of every second row; sets of pixels, class by class and image by image."""
    by_image = []
    for n in range(len(label)):
        logits = slow_resize(parsing[n].detach().double().numpy(), label.shape[1:])[:, ::2, ::2]
        answers = (np.exp(logits) / np.exp(logits).sum(axis=0)).reshape(len(logits), -1)
        truth = label[n, ::2, ::2].flatten().tolist()
        answers, truth = answers[:, [one != 255 for one in truth]], [one for one in truth if one != 255]
        by_class = []
        for c in sorted(set(truth)):
            true = {pixel for pixel, one in enumerate(truth) if one == c}
            errors = [1 - p if pixel in true else p for pixel, p in enumerate(answers[c].tolist())]
            order = sorted(range(len(errors)), key=lambda pixel: -errors[pixel])
            by_class.append(extension(errors, order, true))
        by_image.append(float(np.mean(by_class)) if by_class else 0.0)
    return float(np.mean(by_image))


@pytest.mark.parametrize("absent", [False, True])
def test_lovasz_is_the_extension_of_the_jaccard_loss_of_each_image_and_class(absent: bool) -> None:
    output, label, edge = random_batch()
    if absent:
        label[0][label[0] == 3] = 1  # from one image only
    without, terms = EAGRNetLoss()(output, label, edge), EAGRNetLoss(lovasz=0.5)(output, label, edge)
    assert float(terms.lovasz) == pytest.approx(slow_lovasz(output.parsing, label), rel=1e-5)
    assert float((terms.total - without.total).detach()) == pytest.approx(0.5 * float(terms.lovasz), rel=1e-4)
    assert float(without.lovasz) == float(terms.dice) == 0


def lovasz_of(logits: Tensor, label: Tensor) -> Tensor:
    """The Lovász term alone, with its gradient. One pixel a row and column of `label` is sampled where sides are 1."""
    nothing = torch.zeros_like(label)
    weights = {"parsing": 0, "edge": 0, "boundary_attention": 0, "lovasz": 1}
    return EAGRNetLoss(**weights)(Output(logits, None), label, nothing).total


def in_a_row(values: Tensor) -> Tensor:
    """... x P -> ... x 1 x 2P - 1, of which every second is sampled."""
    return values.repeat_interleave(2, dim=-1)[..., :-1].unsqueeze(-2)


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_is_the_convex_closure_of_the_jaccard_loss(seed: int) -> None:
    """By its definition: of a submodular function, it is the largest of the sums in any order of the pixels."""
    random = torch.Generator().manual_seed(seed)
    logits, truth = torch.randn(2, 6, generator=random), torch.randint(0, 2, (6,), generator=random)
    truth[0], truth[1] = 0, 1  # both classes are there
    answers = logits.double().softmax(dim=0)
    expected = []
    for c in (0, 1):
        true = {pixel for pixel in range(6) if truth[pixel] == c}
        errors = [float(1 - answers[c, pixel] if pixel in true else answers[c, pixel]) for pixel in range(6)]
        expected.append(max(extension(errors, order, true) for order in permutations(range(6))))
    found = lovasz_of(in_a_row(logits)[None], in_a_row(truth)[None])
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


def test_lovasz_of_certain_answers_is_one_minus_the_iou() -> None:
    truth, answer = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 0])
    logits = 1000.0 * torch.nn.functional.one_hot(answer).T
    ious = [2 / 4, 1 / 3, 0 / 2]
    found = lovasz_of(in_a_row(logits)[None], in_a_row(truth)[None])
    assert float(found) == pytest.approx(1 - np.mean(ious))


def test_the_gradient_of_lovasz_is_that_of_small_steps() -> None:
    output, label, _ = random_batch()
    parsing = output.parsing.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: lovasz_of(logits, label), parsing)


def test_ignored_pixels_do_not_count_in_dice_and_lovasz() -> None:
    """Whatever the network says of them, and with no gradient."""
    _, label, edge = random_batch()
    parsing = torch.randn(2, 5, *label.shape[1:])
    other = torch.where((label == 255).unsqueeze(1), torch.randn_like(parsing), parsing)
    loss = EAGRNetLoss(parsing=0, edge=0, boundary_attention=0, dice=1, lovasz=1)
    first, second = (loss(Output(logits.requires_grad_(), None), label, edge) for logits in (parsing, other))
    assert (first.dice, first.lovasz) == (second.dice, second.lovasz)
    first.total.backward()
    gradient = parsing.grad.abs().sum(dim=1)  # type: ignore[union-attr]
    assert not gradient[label == 255].any()
    assert gradient[:, ::2, ::2][label[:, ::2, ::2] != 255].all()


def test_lovasz_of_a_batch_that_is_ignored_altogether_is_zero() -> None:
    output, label, edge = random_batch()
    terms = EAGRNetLoss(lovasz=1)(output, torch.full_like(label, 255), edge)
    terms.total.backward()
    assert float(terms.lovasz) == 0
    assert not output.parsing.grad.any()  # type: ignore[union-attr]


def test_the_lovasz_terms_of_two_processes_add_up_to_that_of_one_large_batch() -> None:
    output, label, edge = random_batch()
    whole = EAGRNetLoss(lovasz=1)(output, label, edge).lovasz
    loss, sums = EAGRNetLoss(lovasz=1), count_pixels(label, edge)
    parts = [
        loss(
            Output(output.parsing[n : n + 1], output.edge[n : n + 1]), label[n : n + 1], edge[n : n + 1], lambda _: sums
        )
        for n in (0, 1)
    ]
    assert float(sum(part.lovasz for part in parts)) == pytest.approx(float(whole))
