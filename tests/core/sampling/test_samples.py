"""Samples as the network sees them: read strictly, augmented alike for image, label and edges."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.errors import DatasetError
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import apply, invert
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.normalise import Normalise
from faceparse.core.sampling.augmentation import Augmentation, Piece, Window, draw_augmentation
from faceparse.core.sampling.samples import (
    Arrays,
    TrainingSet,
    augment,
    check_values,
    collate,
    compose,
    placed,
    read_pair,
)
from faceparse.core.settings import DataSettings

RANDOM = np.random.default_rng(0)
HELEN = get_label_set("helen")
SIZE = (72, 72)
"""Of the drawn faces, so that a crop of this size is the photograph itself."""


def plain(**changes: object) -> DataSettings:
    """No augmentation at all."""
    return DataSettings.model_validate({"input_size": SIZE, "random_scale": False, **changes})


def training_set(root: Path, settings: DataSettings, seed: int = 0) -> TrainingSet:
    return TrainingSet(DatasetFolder(root).samples("train"), HELEN, settings, seed=seed)


def random_arrays(size: tuple[int, int] = (40, 56)) -> Arrays:
    label = RANDOM.integers(0, 11, size, dtype=np.uint8)
    label[:3] = IGNORE
    edge = np.where(RANDOM.random(size) < 0.2, 255, 0).astype(np.uint8)
    return Arrays(RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8), label, edge)


def equal(one: Arrays, other: Arrays) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# Samples.


def test_without_augmentation_a_crop_of_its_own_size_is_the_photograph(faces: Path) -> None:
    dataset = training_set(faces, plain())
    assert len(dataset) == 12
    for index in (0, 7, 11):
        arrays, position = dataset[(5, index)]
        sample = dataset.samples[index]
        assert position == index
        assert np.array_equal(arrays.image, read_image(sample.image))
        assert np.array_equal(arrays.label, read_label(sample.label))
        assert np.array_equal(arrays.edge * 255, read_label(sample.edge))


def test_a_sample_is_a_crop_of_bytes(faces: Path) -> None:
    arrays, _ = training_set(faces, DataSettings(input_size=(64, 96)))[(0, 0)]
    assert [array.shape for array in arrays] == [(64, 96, 3), (64, 96), (64, 96)]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8)}
    assert set(np.unique(arrays.edge)) == {0, 1}
    assert set(np.unique(arrays.label)) <= {*range(11), IGNORE}


def test_a_sample_is_what_was_drawn_for_its_seed_epoch_and_index(faces: Path) -> None:
    settings = DataSettings(input_size=(64, 64), random_mirror=True, color_jitter=0.3)
    dataset = training_set(faces, settings, seed=4)
    for epoch, index in ((0, 0), (3, 5)):
        sample = dataset.samples[index]
        files = Arrays(read_image(sample.image), read_label(sample.label), read_label(sample.edge))
        drawn = draw_augmentation(settings, seed=4, epoch=epoch, index=index)
        assert equal(dataset[(epoch, index)][0], augment(files, drawn, (64, 64), HELEN.mirror_table()))


def test_a_sample_looks_otherwise_in_another_epoch_and_alike_in_the_same(faces: Path) -> None:
    dataset = training_set(faces, DataSettings(input_size=(64, 64)))
    assert equal(dataset[(1, 2)][0], dataset[(1, 2)][0])
    assert not equal(dataset[(1, 2)][0], dataset[(2, 2)][0])


@pytest.mark.parametrize("name", ["helen", "celebamask-hq", "fasseg"])
def test_a_mirrored_sample_is_the_flipped_one_with_its_sides_exchanged(name: str) -> None:
    label_set = get_label_set(name)
    arrays = random_arrays()
    arrays = arrays._replace(label=RANDOM.integers(0, len(label_set), (40, 56), dtype=np.uint8))
    done = Augmentation(scale=1.1, rotation=20.0, brightness=1.2)
    straight = augment(arrays, done, (48, 64), label_set.mirror_table())
    mirrored = augment(arrays, replace(done, mirror=True), (48, 64), label_set.mirror_table())
    swap = {left: right for pair in label_set.mirror for left, right in (pair, pair[::-1])}
    for y in range(48):
        for x in range(64):
            before, after = straight.label[y, 63 - x], mirrored.label[y, x]
            if before == IGNORE:
                assert after == IGNORE
            else:
                name_before = label_set.names[before]
                assert label_set.names[after] == swap.get(name_before, name_before)
    assert np.array_equal(mirrored.image, straight.image[:, ::-1])
    assert np.array_equal(mirrored.edge, straight.edge[:, ::-1])
    assert set(np.unique(straight.edge)) == {0, 1}


def test_colour_changes_neither_label_nor_edges() -> None:
    arrays = random_arrays()
    done = Augmentation(scale=0.9, rotation=-15.0)
    one = augment(arrays, done, (48, 48), HELEN.mirror_table())
    other = augment(arrays, replace(done, saturation=0.3, contrast=1.4), (48, 48), HELEN.mirror_table())
    assert np.array_equal(one.label, other.label)
    assert np.array_equal(one.edge, other.edge)
    assert not np.array_equal(one.image, other.image)


def test_image_label_and_edges_stay_on_top_of_each_other() -> None:
    """A photograph whose red is its class and whose green is its edges stays so wherever it is taken."""
    label = np.kron(RANDOM.integers(0, 11, (6, 8), dtype=np.uint8), np.ones((12, 12), np.uint8))
    edge = np.zeros_like(label)
    edge[36:48] = 255
    image = np.dstack([label * 20, edge, np.full_like(label, 255)])
    done = Augmentation(scale=1.2, rotation=33.0, mirror=True)
    one = augment(Arrays(image, label, edge), done, (80, 90), np.arange(256, dtype=np.uint8))
    inside = one.image[..., 2] == 255
    flat = np.abs(one.image[..., 0] / 20 - np.rint(one.image[..., 0] / 20)) < 0.01
    agreeing = one.label[inside & flat] == np.rint(one.image[..., 0] / 20)[inside & flat]
    assert agreeing.mean() > 0.97  # a blend of two classes may look like a third
    assert np.array_equal(one.edge == 1, one.image[..., 1] != 0)


# Reading.


@pytest.fixture
def spoilt(own_faces: Path) -> Callable[[str, bytes], Sample]:
    def spoil(part: str, data: bytes) -> Sample:
        sample = DatasetFolder(own_faces).samples("train")[0]
        getattr(sample, part).write_bytes(data)
        return sample

    return spoil


def refusal(sample: Sample, classes: int = 11) -> str:
    with pytest.raises(DatasetError) as caught:
        read_pair(sample, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_image_and_label_are_read_as_they_are(faces: Path) -> None:
    sample = DatasetFolder(faces).samples("train")[0]
    image, label = read_pair(sample, 11)
    assert np.array_equal(image, read_image(sample.image))
    assert np.array_equal(label, read_label(sample.label))


def test_image_and_label_of_two_sizes_are_refused(spoilt: Callable[[str, bytes], Sample]) -> None:
    sample = spoilt("image", encode_jpeg(np.zeros((60, 80, 3), np.uint8)))
    assert refusal(sample) == f"{sample.label}: 72 x 72, its image is 80 x 60; make them one size"


def test_a_value_that_is_no_class_is_refused(spoilt: Callable[[str, bytes], Sample]) -> None:
    label = np.zeros(SIZE, np.uint8)
    label[3, 3], label[4, 4] = 37, 99
    sample = spoilt("label", encode_png(label))
    assert refusal(sample) == (
        f"{sample.label}: value 37 is not one of the 11 classes (0 to 10, 255 ignored); "
        "fix the label or name its label set with --label-set"
    )


def test_files_that_cannot_be_read_are_named(spoilt: Callable[[str, bytes], Sample]) -> None:
    sample = spoilt("label", b"no picture")
    assert str(sample.label) in refusal(sample)
    sample = spoilt("image", b"\xff\xd8 no picture")
    assert refusal(sample) == f"{sample.image}: truncated JPEG; replace the file"


@pytest.mark.parametrize("classes", [2, 11, 254, 255])
def test_every_byte_is_judged_by_the_class_count(classes: int) -> None:
    for value in range(256):
        label = np.zeros((3, 4), np.uint8)
        label[1, 2] = value
        if value < classes or value == 255:
            check_values(label, classes, "a.png")
        else:
            with pytest.raises(DatasetError, match=rf"^a\.png: value {value} is not one of the {classes} classes"):
                check_values(label, classes, "a.png")


def test_edges_of_another_size_are_refused(spoilt: Callable[[str, bytes], Sample]) -> None:
    sample = spoilt("edge", encode_png(np.zeros((36, 36), np.uint8)))
    with pytest.raises(DatasetError) as caught:
        TrainingSet([sample], HELEN, plain(), seed=0)[(0, 0)]
    assert str(caught.value) == f"{sample.edge}: not of its label's size; run 'faceparse edges --force'"


def test_missing_edges_are_named(own_faces: Path) -> None:
    sample = DatasetFolder(own_faces).samples("train")[0]
    sample.edge.unlink()
    with pytest.raises(DatasetError, match=rf"^cannot read {sample.edge}: No such file"):
        TrainingSet([sample], HELEN, plain(), seed=0)[(0, 0)]


# Batches.


def test_a_batch_stacks_its_samples_in_order() -> None:
    items = [(random_arrays(), 7), (random_arrays(), 2)]
    batch = collate(items)
    assert [tuple(tensor.shape) for tensor in batch] == [(2, 40, 56, 3), (2, 40, 56), (2, 40, 56), (2,)]
    assert [tensor.dtype for tensor in batch] == [torch.uint8, torch.uint8, torch.uint8, torch.int64]
    assert batch.indices.tolist() == [7, 2]
    for number, (arrays, _) in enumerate(items):
        assert equal(
            Arrays(batch.image[number].numpy(), batch.label[number].numpy(), batch.edge[number].numpy()), arrays
        )


def test_a_batch_moves_as_a_whole() -> None:
    batch = collate([(random_arrays(), 0)]).to(torch.device("meta"))
    assert {tensor.device.type for tensor in batch} == {"meta"}


# Normalising.


def normalised_by_loop(image: np.ndarray, order: str, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    count, height, width, _ = image.shape
    result = np.zeros((count, 3, height, width))
    for n, y, x in np.ndindex(count, height, width):
        pixel = dict(zip("rgb", image[n, y, x].tolist(), strict=True))
        for channel, name in enumerate(order):
            result[n, channel, y, x] = (pixel[name] / 255 - mean[channel]) / std[channel]
    return result


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("mean", "std"), [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.0, 0.5, 1.0), (1.0, 0.1, 2.0))]
)
def test_normalising_is_that_of_a_slow_computation(order: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """In bgr the mean and std stay where they are, as released checkpoints expect."""
    settings = DataSettings.model_validate({"channel_order": order, "mean": mean, "std": std, "input_size": (32, 40)})
    image = RANDOM.integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    given = torch.from_numpy(image.copy())
    output = Normalise(settings)(given)
    assert output.dtype == torch.float32
    assert np.allclose(output.numpy(), normalised_by_loop(image, order, mean, std), atol=1e-5)
    assert np.array_equal(given.numpy(), image)


def test_the_published_order_differs_from_a_plain_swap_of_all() -> None:
    image = torch.from_numpy(RANDOM.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8))
    rgb, bgr = (
        Normalise(DataSettings.model_validate({"channel_order": order, "input_size": (32, 32)}))(image)
        for order in ("rgb", "bgr")
    )
    assert not torch.allclose(rgb.flip(1), bgr, atol=1e-3)


def test_normalising_adds_nothing_to_a_checkpoint() -> None:
    assert Normalise(DataSettings()).state_dict() == {}


# Photographs on pictures without faces.


@pytest.fixture
def backgrounds(tmp_path: Path) -> Path:
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    write_atomic(folder / "grey.png", encode_png(np.full((90, 120, 3), 77, np.uint8)))
    return folder


def test_what_lies_beyond_a_photograph_is_background(backgrounds: Path) -> None:
    arrays = random_arrays((40, 40))
    canvas = np.full((64, 64, 3), 77, np.uint8)
    augmentation = Augmentation(scale=2.0, rotation=15.0, behind=Window(0, 0, 0, 1))
    crop = compose(canvas.copy(), [arrays], augmentation, HELEN.mirror_table())
    back = invert(placed((40, 40), (64, 64), augmentation))
    seen = 0
    for row, column in np.ndindex(64, 64):
        x, y = apply(back, np.array([[column, row]], float))[0]
        if not (-1 < x < 40 and -1 < y < 40):
            assert crop.image[row, column].tolist() == [77] * 3
            assert (crop.label[row, column], crop.edge[row, column]) == (0, 0)
        elif 0 < x < 39 and 0 < y < 39:
            seen += 1
            around = arrays.label[int(y) : int(y) + 2, int(x) : int(x) + 2]
            assert crop.label[row, column] in around
    assert seen > 500


def test_later_photographs_lie_above_and_mirrored_ones_change_sides() -> None:
    first, second = random_arrays((30, 30)), random_arrays((30, 30))
    left_eye, right_eye = HELEN.ids(("left_eye", "right_eye"))
    second = second._replace(label=np.full((30, 30), left_eye, np.uint8))
    augmentation = Augmentation(scale=1.0, others=(Piece(0.5, 2.0, 0.0, (0.0, 0.0), mirror=True),))
    crop = compose(np.zeros((60, 60, 3), np.uint8), [first, second], augmentation, HELEN.mirror_table())
    assert (crop.label[16:44, 16:44] == right_eye).all()
    assert not (crop.label[:14] == right_eye).all()
    assert set(np.unique(crop.edge)) <= {0, 1}


@pytest.mark.parametrize(("share", "kind"), [("far", "others"), ("empty", "empty")])
def test_shares_of_the_samples_are_shown_otherwise(backgrounds: Path, share: str, kind: str) -> None:
    settings = DataSettings.model_validate({"input_size": SIZE, "backgrounds": backgrounds, share: 0.25})
    drawn = [draw_augmentation(settings, seed=1, epoch=0, index=index) for index in range(400)]
    special = [one for one in drawn if (one.empty if kind == "empty" else one.scale > 1.3)]
    assert 60 < len(special) < 140
    assert all(one.behind is not None for one in special)
    if kind == "others":
        assert {len(one.others) for one in special} == {0, 1, 2, 3}
        assert all(1.3 <= piece.scale <= 3.6 and abs(piece.rotation) <= 45 for one in special for piece in one.others)
    ordinary = [one for one in drawn if one not in special]
    assert 0.35 < np.mean([one.behind is not None for one in ordinary]) < 0.65


def test_an_empty_sample_shows_the_background_alone(faces: Path, backgrounds: Path) -> None:
    dataset = training_set(faces, plain(backgrounds=backgrounds, empty=1.0))
    arrays, index = dataset[(0, 3)]
    assert index == 3
    assert (arrays.image == 77).all()
    assert not arrays.label.any()
    assert not arrays.edge.any()


def test_far_samples_are_a_function_of_seed_epoch_and_sample(faces: Path, backgrounds: Path) -> None:
    settings = plain(backgrounds=backgrounds, far=1.0, color_jitter=0.3, noise=0.5)
    one, other = training_set(faces, settings, seed=4), training_set(faces, settings, seed=4)
    for index in range(6):
        assert equal(one[(2, index)][0], other[(2, index)][0])
        assert not equal(one[(2, index)][0], one[(3, index)][0])
        assert not equal(one[(2, index, 1)][0], one[(2, index)][0])


def test_backgrounds_leave_the_other_draws_as_they_were(backgrounds: Path) -> None:
    settings = DataSettings.model_validate({"random_mirror": True, "color_jitter": 0.2})
    behind = settings.model_copy(update={"backgrounds": backgrounds})
    for index in range(50):
        before = draw_augmentation(settings, seed=0, epoch=1, index=index)
        after = draw_augmentation(behind, seed=0, epoch=1, index=index)
        assert replace(after, behind=None) == before
