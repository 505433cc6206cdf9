"""In which space a prediction meets the truth, against a plain computation pixel by pixel."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.scoring import protocols
from faceparse.core.scoring.counting import LabelPair, parse_samples
from faceparse.core.scoring.protocols import PROTOCOLS, read_case, read_matrix, resolve_protocols
from faceparse.core.settings import DataSettings

RANDOM = np.random.default_rng(0)
ALIGNED, RAW, CROP = (90, 110), (46, 50), (33, 45)
"""Heights and widths. The aligned photograph is larger than the raw one: a canvas of the raw size would cut it off."""
TURN = 0.4 * np.array([[math.cos(0.2), math.sin(0.2)], [-math.sin(0.2), math.cos(0.2)]])
PROJECT = np.column_stack([TURN, [1.3, 12.7]])
"""Aligned -> raw."""
LOGITS = RANDOM.standard_normal((11, 9, 12))
"""A quarter of the crop, as the network answers."""


class Known(ParsingModel):
    """A network that always gives the same logits."""

    align_corners = True

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def forward(self, image: Tensor) -> Output:
        parsing = torch.from_numpy(LOGITS).float().expand(len(image), -1, -1, -1)
        return Output(parsing, parsing[:, :2])


@pytest.fixture
def parser() -> Parser:
    network: nn.Module = Known()
    return Parser(ParsingNetwork(network, DataSettings(input_size=CROP)), torch.device("cpu"))  # type: ignore[arg-type]


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


def parsed(parser: Parser, sample: Sample, protocol: str) -> LabelPair:
    (one,) = parse_samples(parser, [sample], 11, [protocol])
    return one[protocol]


# The slow computation. A place is (x, y); an answer is a class, and whether it is certain: not next to a tie.


def logits_by_loop() -> np.ndarray:
    """The crop's logits, H x W x C: resized bilinearly, corners on corners."""
    channels, small_height, small_width = LOGITS.shape
    result = np.empty((*CROP, channels))
    for y in range(CROP[0]):
        for x in range(CROP[1]):
            v, u = y * (small_height - 1) / (CROP[0] - 1), x * (small_width - 1) / (CROP[1] - 1)
            top, left = min(int(v), small_height - 2), min(int(u), small_width - 2)
            dy, dx = v - top, u - left
            result[y, x] = [
                LOGITS[c, top, left] * (1 - dy) * (1 - dx)
                + LOGITS[c, top, left + 1] * (1 - dy) * dx
                + LOGITS[c, top + 1, left] * dy * (1 - dx)
                + LOGITS[c, top + 1, left + 1] * dy * dx
                for c in range(channels)
            ]
    return result


CROP_LOGITS = logits_by_loop()
PREDICTION = [[values.index(max(values)) for values in row] for row in CROP_LOGITS.tolist()]


def near(value: float) -> tuple[int, bool]:
    return math.floor(value + 0.5), abs(value - math.floor(value) - 0.5) > 0.01


def to_crop(x: float, y: float) -> tuple[float, float]:
    """From the aligned photograph."""
    zoom = min((CROP[1] - 1) / (ALIGNED[1] - 1), (CROP[0] - 1) / (ALIGNED[0] - 1))
    return (x - (ALIGNED[1] - 1) / 2) * zoom + (CROP[1] - 1) / 2, (y - (ALIGNED[0] - 1) / 2) * zoom + (CROP[0] - 1) / 2


def to_aligned(x: float, y: float) -> tuple[float, float]:
    """From the raw photograph."""
    (a, b, c), (d, e, f) = PROJECT.tolist()
    determinant = a * e - b * d
    return (e * (x - c) - b * (y - f)) / determinant, (a * (y - f) - d * (x - c)) / determinant


def in_photograph(x: int, y: int) -> tuple[int, bool]:
    """The class of a pixel of the aligned photograph: that of the nearest pixel of the crop."""
    (u, certain_u), (v, certain_v) = map(near, to_crop(x, y))
    inside = 0 <= u < CROP[1] and 0 <= v < CROP[0]
    return PREDICTION[v][u] if inside else 0, certain_u and certain_v


def in_original(x: int, y: int, canvas: tuple[int, int]) -> tuple[int, bool]:
    """The class of a pixel of the raw photograph: that of the nearest pixel of the aligned one, on a canvas."""
    (u, certain_u), (v, certain_v) = map(near, to_aligned(x, y))
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


def largest(values: list[float]) -> tuple[int, bool]:
    first, second = sorted(values, reverse=True)[:2]
    return values.index(first), first - second > 1e-4


def between(u: float, v: float) -> tuple[int, bool]:
    """The class of a place in the crop: the largest of its bilinear logits. Around the crop all are the least there
    is but background, which is the most.
    """
    around = [CROP_LOGITS.max(), *[CROP_LOGITS.min()] * 10]
    left, top = math.floor(u), math.floor(v)
    total = [0.0] * 11
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        inside = 0 <= row < CROP[0] and 0 <= column < CROP[1]
        weight = (1 - abs(u - column)) * (1 - abs(v - row))
        for c, value in enumerate(CROP_LOGITS[row, column] if inside else around):
            total[c] += weight * value
    return largest(total)


def farl_by_loop(size: tuple[int, int], *, aligned: bool) -> tuple[np.ndarray, np.ndarray]:
    answers = [
        [between(*to_crop(*(to_aligned(x, y) if aligned else (x, y)))) for x in range(size[1])] for y in range(size[0])
    ]
    return np.array(answers)[..., 0], np.array(answers)[..., 1].astype(bool)


def stretched_by_loop(picture: np.ndarray, x: int, y: int, size: tuple[int, int]) -> list[float]:
    """Bilinear value of an H x W x C picture, stretched to `size`, at a pixel: outer edges lie on each other."""
    v, u = (y + 0.5) * picture.shape[0] / size[0] - 0.5, (x + 0.5) * picture.shape[1] / size[1] - 0.5
    v, u = min(max(v, 0), picture.shape[0] - 1), min(max(u, 0), picture.shape[1] - 1)
    top, left = min(int(v), picture.shape[0] - 2), min(int(u), picture.shape[1] - 2)
    dy, dx = v - top, u - left
    upper = picture[top, left] * (1 - dx) + picture[top, left + 1] * dx
    lower = picture[top + 1, left] * (1 - dx) + picture[top + 1, left + 1] * dx
    return list(upper * (1 - dy) + lower * dy)


def f1(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over all classes, by comparing pixels."""
    counted = truth != 255
    both = [np.sum((truth == c) & (prediction == c) & counted) for c in range(11)]
    each = [np.sum((truth == c) & counted) + np.sum((prediction == c) & counted) for c in range(11)]
    return float(np.mean([2 * b / e for b, e in zip(both, each, strict=True) if e]))


def agree(one: LabelPair, expected: np.ndarray, certain: np.ndarray) -> None:
    assert one.prediction.shape == one.truth.shape == expected.shape
    assert one.prediction.dtype == np.uint8
    assert certain.mean() > 0.9
    assert np.array_equal(one.prediction[certain], expected[certain])


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
    counts = confusion_counts(*parsed(parser, sample, "eagrnet"), 11)
    assert counts.sum() == np.trace(counts) == certain.sum()
    assert f1(truth, cut) < 0.7


def test_label_stays_in_the_photograph_that_was_parsed(parser: Parser, sample: Sample) -> None:
    agree(parsed(parser, sample, "label"), *photograph_by_loop())


def test_farl_warps_logits_into_the_original_photograph_at_once(parser: Parser, sample: Sample) -> None:
    one = parsed(parser, sample, "farl")
    expected, certain = farl_by_loop(RAW, aligned=True)
    agree(one, expected, certain)
    nearest, certain_nearest = original_by_loop(canvas=ALIGNED)
    assert np.sum((nearest != expected) & certain & certain_nearest) > 30  # so that the two are told apart
    assert np.array_equal(one.truth, parsed(parser, sample, "eagrnet").truth)


def test_farl_without_alignment_stays_in_the_photograph(parser: Parser, sample: Sample) -> None:
    sample.project.unlink()
    expected, certain = farl_by_loop(ALIGNED, aligned=False)
    agree(parsed(parser, sample, "farl"), expected, certain)
    nearest, certain_nearest = photograph_by_loop()
    assert np.sum((nearest != expected) & certain & certain_nearest) > 100


@pytest.mark.parametrize("band", [1, 3 * 11 * RAW[1], 45 * 11 * RAW[1]])
def test_farl_warps_any_number_of_rows_at_once(
    parser: Parser, sample: Sample, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = parsed(parser, sample, "farl").prediction
    monkeypatch.setattr("faceparse.core.scoring.protocols._BAND", band)
    assert np.array_equal(parsed(parser, sample, "farl").prediction, whole)


@pytest.mark.parametrize(("scale", "shift"), [(64, 0), (1 / 64, 0), (1, -50), (1, 50)])
def test_farl_draws_the_same_borders_whatever_the_scale_of_the_logits(
    parser: Parser, sample: Sample, scale: float, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = parsed(parser, sample, "farl").prediction
    monkeypatch.setattr(f"{__name__}.LOGITS", LOGITS * scale + shift)
    _, certain = farl_by_loop(RAW, aligned=True)
    assert np.array_equal(parsed(parser, sample, "farl").prediction[certain], before[certain])


def test_segface_stretches_logits_and_label_to_a_square(parser: Parser, sample: Sample) -> None:
    truth, prediction = parsed(parser, sample, "segface")
    assert truth.shape == prediction.shape == (512, 512)
    label = read_label(sample.label)
    compared = 0
    for y in [0, 511, *range(3, 512, 9)]:
        for x in [0, 511, *range(2, 512, 7)]:
            assert truth[y, x] == label[int((y + 0.5) * ALIGNED[0] / 512), int((x + 0.5) * ALIGNED[1] / 512)]
            expected, certain = largest(stretched_by_loop(CROP_LOGITS, x, y, (512, 512)))
            assert not certain or prediction[y, x] == expected
            compared += certain
    assert compared > 4000


@pytest.mark.parametrize("size", [(1000, 700), (513, 1024)])
def test_segface_takes_the_nearest_pixel_of_large_labels(sample: Sample, size: tuple[int, int]) -> None:
    label = random_label(size)
    sample.image.write_bytes(encode_png(np.zeros((*size, 3), np.uint8)))
    sample.label.write_bytes(encode_png(label))
    (truth,) = read_case(sample, 11, CROP, [PROTOCOLS["segface"]]).truths.values()
    for y in range(512):
        row = label[int((y + 0.5) * size[0] / 512)]
        assert truth.label[y].tolist() == [row[int((x + 0.5) * size[1] / 512)] for x in range(512)]


def test_segface_shows_the_network_the_photograph_without_its_aspect(sample: Sample) -> None:
    (view,) = read_case(sample, 11, CROP, [PROTOCOLS["segface"]]).views.values()
    assert (view.shape, view.dtype) == ((*CROP, 3), np.uint8)
    image = read_image(sample.image).astype(float)
    for y in range(CROP[0]):
        for x in range(CROP[1]):
            assert view[y, x].tolist() == pytest.approx(stretched_by_loop(image, x, y, CROP), abs=1)


def test_each_protocol_gives_a_score_of_its_own(parser: Parser, sample: Sample) -> None:
    (found,) = parse_samples(parser, [sample], 11, list(PROTOCOLS))
    assert [one.truth.shape for one in found.values()] == [RAW, ALIGNED, RAW, (512, 512)]
    assert len({f1(*one) for one in found.values()}) == 4


def test_without_alignment_eagrnet_and_label_are_one(parser: Parser, sample: Sample) -> None:
    sample.project.unlink()
    eagrnet, label = (parsed(parser, sample, protocol) for protocol in ("eagrnet", "label"))
    assert np.array_equal(eagrnet.truth, label.truth)
    assert np.array_equal(eagrnet.prediction, label.prediction)


@pytest.mark.parametrize("protocol", ["eagrnet", "farl"])
def test_outside_the_aligned_photograph_there_is_background(parser: Parser, sample: Sample, protocol: str) -> None:
    np.save(sample.project, np.array([[0.1, 0, 20], [0, 0.1, 20.0]]))
    label = parsed(parser, sample, protocol).prediction
    assert not label[:19].any()
    assert not label[:, :19].any()
    assert label[21:28, 21:30].any()


# Names.


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["label"], ["label"]),
        (["farl,eagrnet"], ["farl", "eagrnet"]),
        (["segface, label", "farl"], ["segface", "label", "farl"]),
        (["label,label", "farl,label"], ["label", "farl"]),
    ],
)
def test_several_protocols_are_named_each_once(given: list[str], names: list[str]) -> None:
    assert resolve_protocols(given) == names


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["eagrnet,frl"], "--protocol 'frl': not one of eagrnet, label, farl, segface; did you mean 'farl'?"),
        (["label", ""], "--protocol '': not one of eagrnet, label, farl, segface"),
        (["label,"], "--protocol '': not one of eagrnet, label, farl, segface"),
    ],
)
def test_protocols_that_are_none_are_refused(given: list[str], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_protocols(given)
    assert str(caught.value) == expected


# What is read.


def refusal(sample: Sample) -> str:
    with pytest.raises(DatasetError) as caught:
        read_case(sample, 11, CROP, [PROTOCOLS["eagrnet"]])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_case_holds_what_the_protocols_need_each_once(sample: Sample) -> None:
    case = read_case(sample, 11, CROP, PROTOCOLS.values())
    assert case.size == ALIGNED
    assert [view.shape for view in case.views.values()] == [(*CROP, 3)] * 2
    assert len(case.truths) == 3
    truth = case.truths[PROTOCOLS["eagrnet"].truth]
    assert truth.project is not None
    assert np.array_equal(truth.project, PROJECT)
    assert np.array_equal(truth.label, read_label(sample.label_raw))


def test_a_matrix_without_its_raw_label_is_refused(sample: Sample) -> None:
    sample.label_raw.unlink()
    assert refusal(sample) == (
        f"{sample.label_raw} is missing, but {sample.project} is there; prepare the dataset again"
    )
    (truth, _) = read_case(sample, 11, CROP, [PROTOCOLS["label"], PROTOCOLS["segface"]]).truths.values()
    assert truth.label.shape == ALIGNED


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


class _Doubles(TorchDispatchMode):
    """Counts tensors of float64 on a device that stands in for one without float64."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **kwargs or {})
        tensors = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        self.found += sum(one.dtype == torch.float64 and one.device.type == "meta" for one in tensors)
        return result


@pytest.mark.parametrize("name", list(PROTOCOLS))
@pytest.mark.parametrize("without", [True, False])
def test_a_device_without_float64_sees_none(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, name: str, without: bool
) -> None:
    """With the coordinates on the CPU. With them on the device, where float64 exists, the same count finds them."""
    if without:
        monkeypatch.setattr(protocols, "float64_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(protocols, "classes_of", lambda logits: np.zeros(logits.shape[1:], np.uint8))
    network: nn.Module = Known()
    model = ParsingNetwork(network, DataSettings(input_size=CROP))  # type: ignore[arg-type]
    protocol = PROTOCOLS[name]
    case = read_case(sample, 11, CROP, [protocol])
    crop = torch.from_numpy(case.views[protocol.view])[None]
    with _Doubles() as doubles, torch.inference_mode():
        logits = torch.empty_like(model(crop), device="meta")[0]
        labels = protocol.read_labels(logits, case.size, case.truths[protocol.truth])
    assert labels.shape == case.truths[protocol.truth].label.shape
    assert (doubles.found > 0) == (name == "farl" and not without)
