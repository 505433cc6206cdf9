"""In which space a prediction meets the truth, against a plain look-up of the nearest pixel."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError
from faceparse.core.evaluation.evaluate import Parsed, parse_samples
from faceparse.core.evaluation.protocols import PROTOCOLS, ProtocolName, read_case, read_matrix
from faceparse.core.files import encode_png
from faceparse.core.inference import Parser
from faceparse.core.model.eagrnet import Output
from faceparse.core.settings import DataSettings

RANDOM = np.random.default_rng(0)
ALIGNED, RAW, CROP = (90, 110), (46, 50), (33, 45)
"""Heights and widths. The aligned photograph is larger than the raw one: a canvas of the raw size would cut it off."""
TURN = 0.4 * np.array([[math.cos(0.2), math.sin(0.2)], [-math.sin(0.2), math.cos(0.2)]])
PROJECT = np.column_stack([TURN, [1.3, 12.7]])
"""Aligned -> raw."""
LOGITS = RANDOM.standard_normal((11, 9, 12))
"""A quarter of the crop, as the network answers."""


class Known(nn.Module):
    """A network that always gives the same logits."""

    def forward(self, image: Tensor) -> Output:
        parsing = torch.from_numpy(LOGITS).float().expand(len(image), -1, -1, -1)
        return Output(parsing, parsing[:, :2])


@pytest.fixture
def parser() -> Parser:
    network: nn.Module = Known()
    return Parser(network, DataSettings(input_size=CROP), torch.device("cpu"))  # type: ignore[arg-type]


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """An aligned photograph with its label, the raw label, and the way between them."""
    image = RANDOM.integers(0, 256, (*ALIGNED, 3), dtype=np.uint8)
    files = {
        "image": encode_png(image),
        "label": encode_png(random_label(ALIGNED)),
        "label_raw": encode_png(random_label(RAW)),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    np.save(tmp_path / "project.npy", PROJECT)
    return Sample(
        id="a",
        image=tmp_path / "image.png",
        label=tmp_path / "label.png",
        edge=tmp_path / "edge.png",
        label_raw=tmp_path / "label_raw.png",
        project=tmp_path / "project.npy",
    )


def random_label(size: tuple[int, int]) -> np.ndarray:
    label = RANDOM.integers(0, 11, size, dtype=np.uint8)
    label[RANDOM.random(size) < 0.1] = 255
    return label


def parsed(parser: Parser, sample: Sample, protocol: ProtocolName) -> Parsed:
    (one,) = parse_samples(parser, [sample], 11, protocol=protocol)
    return one


# The slow computation. A place is (x, y); an answer is a class, and whether it is certain: not next to a tie.


def prediction_by_loop() -> list[list[int]]:
    """The crop's classes: logits resized bilinearly, corners on corners, then the largest."""
    channels, small_height, small_width = LOGITS.shape
    result = [[0] * CROP[1] for _ in range(CROP[0])]
    for y in range(CROP[0]):
        for x in range(CROP[1]):
            v, u = y * (small_height - 1) / (CROP[0] - 1), x * (small_width - 1) / (CROP[1] - 1)
            top, left = min(int(v), small_height - 2), min(int(u), small_width - 2)
            dy, dx = v - top, u - left
            values = [
                LOGITS[c, top, left] * (1 - dy) * (1 - dx)
                + LOGITS[c, top, left + 1] * (1 - dy) * dx
                + LOGITS[c, top + 1, left] * dy * (1 - dx)
                + LOGITS[c, top + 1, left + 1] * dy * dx
                for c in range(channels)
            ]
            result[y][x] = values.index(max(values))
    return result


PREDICTION = prediction_by_loop()


def near(value: float) -> tuple[int, bool]:
    return math.floor(value + 0.5), abs(value - math.floor(value) - 0.5) > 0.01


def in_photograph(x: int, y: int) -> tuple[int, bool]:
    """The class of a pixel of the aligned photograph: that of the nearest pixel of the crop."""
    zoom = min((CROP[1] - 1) / (ALIGNED[1] - 1), (CROP[0] - 1) / (ALIGNED[0] - 1))
    u, certain_u = near((x - (ALIGNED[1] - 1) / 2) * zoom + (CROP[1] - 1) / 2)
    v, certain_v = near((y - (ALIGNED[0] - 1) / 2) * zoom + (CROP[0] - 1) / 2)
    inside = 0 <= u < CROP[1] and 0 <= v < CROP[0]
    return PREDICTION[v][u] if inside else 0, certain_u and certain_v


def in_original(x: int, y: int, canvas: tuple[int, int]) -> tuple[int, bool]:
    """The class of a pixel of the raw photograph: that of the nearest pixel of the aligned one, on a canvas."""
    (a, b, c), (d, e, f) = PROJECT.tolist()
    determinant = a * e - b * d
    u, certain_u = near((e * (x - c) - b * (y - f)) / determinant)
    v, certain_v = near((a * (y - f) - d * (x - c)) / determinant)
    if not (0 <= u < canvas[1] and 0 <= v < canvas[0]):
        return 0, certain_u and certain_v
    label, certain = in_photograph(u, v)
    return label, certain and certain_u and certain_v


def original_by_loop(canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Label in the raw photograph's space, and where it is certain."""
    answers = [[in_original(x, y, canvas) for x in range(RAW[1])] for y in range(RAW[0])]
    return np.array(answers)[..., 0], np.array(answers)[..., 1].astype(bool)


def photograph_by_loop() -> tuple[np.ndarray, np.ndarray]:
    answers = [[in_photograph(x, y) for x in range(ALIGNED[1])] for y in range(ALIGNED[0])]
    return np.array(answers)[..., 0], np.array(answers)[..., 1].astype(bool)


def f1(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over all classes, by comparing pixels."""
    counted = truth != 255
    both = [np.sum((truth == c) & (prediction == c) & counted) for c in range(11)]
    each = [np.sum((truth == c) & counted) + np.sum((prediction == c) & counted) for c in range(11)]
    return float(np.mean([2 * b / e for b, e in zip(both, each, strict=True) if e]))


def agree(one: Parsed, expected: np.ndarray, certain: np.ndarray) -> None:
    assert one.label.shape == expected.shape
    assert certain.mean() > 0.9
    assert np.array_equal(one.label[certain], expected[certain])
    counts = np.zeros((11, 11), int)
    for place in np.ndindex(one.case.truth.shape):
        if one.case.truth[place] != 255:
            counts[one.case.truth[place], one.label[place]] += 1
    assert one.counts.tolist() == counts.tolist()


# The protocols.


def test_a_crop_is_the_largest_of_its_resized_logits(parser: Parser) -> None:
    crops = torch.zeros((2, *CROP, 3), dtype=torch.uint8)
    assert parser.parse_crops(crops).tolist() == [PREDICTION, PREDICTION]


def test_eagrnet_projects_into_the_original_photograph(parser: Parser, sample: Sample) -> None:
    agree(parsed(parser, sample, "eagrnet"), *original_by_loop(canvas=ALIGNED))


def test_an_aligned_photograph_larger_than_the_raw_one_is_not_cut_off(parser: Parser, sample: Sample) -> None:
    """The released code painted onto a canvas of the raw size: what lies beyond is lost, and F1 with it."""
    whole, certain = original_by_loop(canvas=ALIGNED)
    cut, _ = original_by_loop(canvas=RAW)
    lost = (whole != cut) & certain
    assert lost.mean() > 0.3
    truth = np.where(certain, whole, 255).astype(np.uint8)
    sample.label_raw.write_bytes(encode_png(truth))
    counts = parsed(parser, sample, "eagrnet").counts
    assert counts.sum() == np.trace(counts) == certain.sum()
    assert f1(truth, cut) < 0.7


def test_label_stays_in_the_photograph_that_was_parsed(parser: Parser, sample: Sample) -> None:
    agree(parsed(parser, sample, "label"), *photograph_by_loop())


def test_the_two_protocols_give_two_scores(parser: Parser, sample: Sample) -> None:
    eagrnet, label = (parsed(parser, sample, protocol) for protocol in PROTOCOLS)
    assert (eagrnet.case.truth.shape, label.case.truth.shape) == (RAW, ALIGNED)
    assert eagrnet.counts.sum() != label.counts.sum()
    assert f1(eagrnet.case.truth, eagrnet.label) != f1(label.case.truth, label.label)


def test_without_alignment_both_protocols_are_one(parser: Parser, sample: Sample) -> None:
    sample.project.unlink()
    eagrnet, label = (parsed(parser, sample, protocol) for protocol in PROTOCOLS)
    assert np.array_equal(eagrnet.label, label.label)
    assert np.array_equal(eagrnet.counts, label.counts)
    assert eagrnet.case.project is None


def test_outside_the_aligned_photograph_there_is_background(parser: Parser, sample: Sample) -> None:
    np.save(sample.project, np.array([[0.1, 0, 20], [0, 0.1, 20.0]]))
    label = parsed(parser, sample, "eagrnet").label
    assert not label[:19].any()
    assert not label[:, :19].any()
    assert label[21:28, 21:30].any()


# What is read.


def refusal(sample: Sample, protocol: ProtocolName = "eagrnet") -> str:
    with pytest.raises(DatasetError) as caught:
        read_case(sample, 0, 11, CROP, protocol)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_case_holds_what_scoring_needs(sample: Sample) -> None:
    case = read_case(sample, 4, 11, CROP, "eagrnet")
    assert case.position == 4
    assert case.photo.crop.shape == (*CROP, 3)
    assert case.photo.size == ALIGNED
    assert case.project is not None
    assert np.array_equal(case.project, PROJECT)


def test_a_matrix_without_its_raw_label_is_refused(sample: Sample) -> None:
    sample.label_raw.unlink()
    assert refusal(sample) == (
        f"{sample.label_raw} is missing, but {sample.project} is there; prepare the dataset again"
    )
    assert read_case(sample, 0, 11, CROP, "label").truth.shape == ALIGNED


@pytest.mark.parametrize("part", ["label", "label_raw"])
def test_values_that_are_no_class_are_refused(sample: Sample, part: str) -> None:
    path: Path = getattr(sample, part)
    path.write_bytes(encode_png(np.full(ALIGNED, 37, np.uint8)))
    assert refusal(sample).startswith(f"{path}: value 37 is not one of the 11 classes")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_matrices_of_any_number_type_are_read(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "a.npy", np.array([[1, 0, 5], [0, 1, -3]], dtype))
    matrix = read_matrix(tmp_path / "a.npy")
    assert matrix.dtype == np.float64
    assert matrix.tolist() == [[1, 0, 5], [0, 1, -3]]


@pytest.mark.parametrize(
    "matrix", [np.eye(3), np.eye(2), np.zeros(6), np.full((2, 3), np.nan), np.array([[1, 0, np.inf], [0, 1, 0]])]
)
def test_matrices_that_are_none_are_refused(sample: Sample, matrix: np.ndarray) -> None:
    np.save(sample.project, matrix)
    assert refusal(sample) == (
        f"{sample.project}: has shape {matrix.shape}, not a finite 2 x 3 matrix; prepare the dataset again"
    )


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "archive", "objects"])
def test_files_that_are_no_matrix_are_refused(sample: Sample, kind: str) -> None:
    whole = sample.project.read_bytes()
    if kind == "archive":
        with sample.project.open("wb") as file:
            np.savez(file, PROJECT)
    elif kind == "objects":  # unpickling could run code
        np.save(sample.project, np.array([[1, None, 2], [3, 4, 5]], object), allow_pickle=True)
    else:
        sample.project.write_bytes({"empty": b"", "text": b"1 0 0\n0 1 0\n", "truncated": whole[:-9]}[kind])
    message = refusal(sample)
    assert message.startswith(f"{sample.project}: not a .npy matrix (")
    assert message.endswith("); prepare the dataset again")
