"""A whole split: one matrix, whatever the batches and processes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.errors import DatasetError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.scoring.counting import evaluate, parse_samples
from faceparse.core.scoring.protocols import PROTOCOLS
from faceparse.core.settings import DataSettings

WEIGHTS = np.random.default_rng(0).standard_normal((11, 3)) * 3
BIAS = np.linspace(0.5, -0.5, 11)


class Coloured(ParsingModel):
    """A network that judges each pixel by its colour alone."""

    align_corners = True

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def forward(self, image: Tensor) -> Output:
        weights, bias = torch.from_numpy(WEIGHTS).float(), torch.from_numpy(BIAS).float()
        parsing = torch.einsum("kc,nchw->nkhw", weights, image) + bias[:, None, None]
        return Output(parsing, parsing[:, :2])


def parser(size: tuple[int, int] = (72, 72)) -> Parser:
    network: nn.Module = Coloured()
    return Parser(ParsingNetwork(network, DataSettings(input_size=size)), torch.device("cpu"))  # type: ignore[arg-type]


def confusion_of(parser: Parser, samples: Sequence[Sample], **options: Any) -> np.ndarray:
    return evaluate(parser, samples, 11, ["eagrnet"], **options)["eagrnet"]


@pytest.fixture
def samples(faces: Path) -> list[Sample]:
    return DatasetFolder(faces).samples("train")


def counts_by_loop(sample: Sample) -> np.ndarray:
    """Colour, class, count: a photograph of the crop's size needs no warp."""
    settings = DataSettings()
    colours = (read_image(sample.image) / 255 - settings.mean) / settings.std
    prediction = (colours @ WEIGHTS.T + BIAS).argmax(axis=2)
    truth = read_label(sample.label)
    counts = np.zeros((11, 11), int)
    for place in np.ndindex(truth.shape):
        if truth[place] != 255:
            counts[truth[place], prediction[place]] += 1
    return counts


def test_counts_are_those_of_a_plain_computation(samples: list[Sample]) -> None:
    confusion = confusion_of(parser(), samples)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == sum(counts_by_loop(sample) for sample in samples).tolist()  # type: ignore[union-attr]
    assert np.count_nonzero(confusion) > 30


def test_ignored_pixels_are_left_out(own_faces: Path) -> None:
    sample = DatasetFolder(own_faces).samples("test")[0]
    label = read_label(sample.label)
    label[:10] = 255
    sample.label.write_bytes(encode_png(label))
    confusion = confusion_of(parser(), [sample])
    assert confusion.sum() == 62 * 72
    assert confusion.tolist() == counts_by_loop(sample).tolist()


@pytest.mark.parametrize("size", [(72, 72), (64, 96)])
def test_the_whole_is_the_sum_of_its_samples(samples: list[Sample], size: tuple[int, int]) -> None:
    total = confusion_of(parser(size), samples)
    single = [confusion_of(parser(size), [sample], batch_size=1) for sample in samples]
    assert total.tolist() == np.sum(single, axis=0).tolist()
    assert total.sum() == 12 * 72 * 72


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (5, 0), (64, 0), (3, 2)])
def test_batches_and_processes_do_not_change_the_counts(samples: list[Sample], batch_size: int, workers: int) -> None:
    expected = confusion_of(parser((64, 64)), samples)
    found = confusion_of(parser((64, 64)), samples, batch_size=batch_size, workers=workers)
    assert found.tolist() == expected.tolist()


def test_samples_are_parsed_in_order(samples: list[Sample]) -> None:
    parsed = list(parse_samples(parser(), samples, 11, ["eagrnet"], batch_size=5))
    for one, sample in zip(parsed, samples, strict=True):
        truth, prediction = one["eagrnet"]
        assert np.array_equal(truth, read_label(sample.label))
        assert confusion_counts(truth, prediction, 11).tolist() == counts_by_loop(sample).tolist()


@pytest.fixture
def turned(own_faces: Path) -> list[Sample]:
    """Photographs that are not square, the first of which is aligned."""
    samples = DatasetFolder(own_faces).samples("train")[:5]
    for sample in samples:
        sample.image.write_bytes(encode_png(read_image(sample.image)[:61]))
        sample.label.write_bytes(encode_png(read_label(sample.label)[:61]))
    first = samples[0]
    first.project.parent.mkdir(exist_ok=True)
    first.label_raw.parent.mkdir(exist_ok=True)
    np.save(first.project, np.array([[0.9, 0.3, -4], [-0.3, 0.9, 18]]))
    first.label_raw.write_bytes(encode_png(np.rot90(read_label(first.label))))
    return samples


@pytest.mark.parametrize("workers", [0, 1])
def test_protocols_counted_together_are_those_counted_alone(turned: list[Sample], workers: int) -> None:
    together = evaluate(parser((64, 96)), turned, 11, list(PROTOCOLS), batch_size=2, workers=workers)
    assert list(together) == list(PROTOCOLS)
    for name, confusion in together.items():
        assert confusion.tolist() == evaluate(parser((64, 96)), turned, 11, [name])[name].tolist()
    assert len({confusion.tobytes() for confusion in together.values()}) == len(PROTOCOLS)


@pytest.mark.parametrize(
    ("protocols", "runs"), [(["eagrnet"], 3), (["label", "farl", "eagrnet"], 3), (["segface", "farl", "label"], 6)]
)
def test_protocols_of_one_view_share_the_network(turned: list[Sample], protocols: list[str], runs: int) -> None:
    counting, shapes = parser((64, 96)), []
    counting.network.logits.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    evaluate(counting, turned, 11, protocols, batch_size=2)
    assert shapes == [(2, 3, 64, 96)] * (runs - runs // 3) + [(1, 3, 64, 96)] * (runs // 3)


def test_no_samples_count_nothing() -> None:
    assert confusion_of(parser(), []).tolist() == np.zeros((11, 11)).tolist()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_ends_the_evaluation_with_its_line(own_faces: Path, workers: int) -> None:
    samples = DatasetFolder(own_faces).samples("train")
    samples[5].image.write_bytes(samples[5].image.read_bytes()[:500])
    with pytest.raises(DatasetError) as caught:
        confusion_of(parser(), samples, workers=workers)
    assert str(caught.value) == f"{samples[5].image}: truncated JPEG; replace the file"


def test_progress_is_told_photograph_by_photograph(samples: list[Sample]) -> None:
    told: list[object] = []

    def track(items: Any, total: int, what: str) -> Any:
        told.append((total, what))
        for item in items:
            told.append(list(item))
            yield item

    confusion_of(parser(), samples[:3], batch_size=2, track=track)
    assert told == [(3, "evaluate"), *[["eagrnet"]] * 3]
