"""Samples of the canonical layout as arrays, and batches of them as tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import Size, crop_matrix, warp_label
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, unknown_values
from faceparse.core.machine.device import copy_to_device
from faceparse.core.sampling.augmentation import (
    Augmentation,
    Piece,
    degrade,
    draw_augmentation,
    jitter_colour,
    warp_image_and_edge,
)
from faceparse.core.sampling.backgrounds import Backgrounds
from faceparse.core.sampling.batch_order import Draw
from faceparse.core.sampling.cache import SampleCache
from faceparse.core.settings import DataSettings


class Batch(NamedTuple):
    """N samples. Images stay bytes until they are on the device, which saves three quarters of memory and transfer."""

    image: Tensor
    """N x H x W x 3 uint8, RGB."""
    label: Tensor
    """N x H x W uint8 class ids; 255 is ignored."""
    edge: Tensor
    """N x H x W uint8, 0 or 1."""
    indices: Tensor
    """N int64, positions in the dataset."""

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device, without waiting for a CUDA GPU."""
        return Batch(*(copy_to_device(tensor, device) for tensor in self))


class Arrays(NamedTuple):
    """One sample as the crop that the network sees; shapes and types as in `Batch`, without N."""

    image: np.ndarray
    label: np.ndarray
    edge: np.ndarray


class TrainingSet(Dataset[tuple[Arrays, int]]):
    """Augmented crops, one for each `Draw`. A crop depends on the epoch, not on the process that loads it."""

    def __init__(
        self,
        samples: Sequence[Sample],
        label_set: LabelSet,
        settings: DataSettings,
        *,
        seed: int,
        cache: SampleCache | None = None,
    ) -> None:
        """Use `cache`, made for these samples. It does not change the crops."""
        self.samples = samples
        self.settings = settings
        self.classes = len(label_set)
        self.mirror = label_set.mirror_table()
        self.seed = seed
        self.cache = cache
        self.backgrounds = Backgrounds(settings.backgrounds) if settings.backgrounds else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: tuple[int, ...]) -> tuple[Arrays, int]:
        epoch, index, copy = Draw(*draw)
        size = self.settings.input_size
        a = draw_augmentation(self.settings, seed=self.seed, epoch=epoch, index=index, copy=copy)
        if a.behind is None:
            return augment(self._decoded(index), a, size, self.mirror), index
        assert self.backgrounds is not None
        layers = [] if a.empty else [self._decoded(index)]
        others = [self._decoded(int(piece.sample * len(self))) for piece in a.others]
        canvas = compose(self.backgrounds.window(a.behind, size), [*layers, *others], a, self.mirror)
        return canvas._replace(image=degrade(jitter_colour(canvas.image, a), a)), index

    def _decoded(self, index: int) -> Arrays:
        if self.cache is None:
            return self._read(index)
        if (kept := self.cache.get(index)) is not None:
            return Arrays(*kept)
        arrays = self._read(index)
        self.cache.put(index, *arrays)
        return arrays

    def _read(self, index: int) -> Arrays:
        sample = self.samples[index]
        image, label = read_pair(sample, self.classes)
        edge = read_label(sample.edge)
        if edge.shape != label.shape:
            raise DatasetError(f"{sample.edge}: not of its label's size; run 'faceparse edges --force'")
        return Arrays(image, label, edge)


def augment(arrays: Arrays, augmentation: Augmentation, size: Size, mirror: np.ndarray) -> Arrays:
    """Crop, rotate, scale, shift, mirror, recolour and degrade one sample.

    Args:
        mirror: the label set's mirror table, 256 entries.
    """
    a = augmentation
    matrix = placed(arrays.label.shape, size, a)
    image, edge = warp_image_and_edge(arrays.image, arrays.edge, matrix, size)
    image = degrade(jitter_colour(image, a), a)
    label = warp_label(arrays.label, matrix, size)
    crop = Arrays(image, label, edge)
    return mirrored(crop, mirror) if a.mirror else crop


def compose(canvas: np.ndarray, layers: Sequence[Arrays], augmentation: Augmentation, mirror: np.ndarray) -> Arrays:
    """Put photographs on a picture without faces (H x W x 3 uint8), each over those before. Keep their colours.

    Args:
        layers: the sample that the augmentation is for, and its `others`.
    """
    size = (canvas.shape[0], canvas.shape[1])
    total = Arrays(canvas, np.zeros(size, np.uint8), np.zeros(size, np.uint8))
    places: list[Augmentation | Piece] = [augmentation, *augmentation.others]
    for arrays, place in zip(layers, places, strict=False):
        matrix = placed(arrays.label.shape, size, place)
        image, edge = warp_image_and_edge(arrays.image, arrays.edge, matrix, size)
        layer = Arrays(image, warp_label(arrays.label, matrix, size), edge)
        there = warp_label(np.ones_like(arrays.label), matrix, size, border=0)
        if place.mirror:
            layer, there = mirrored(layer, mirror), cv2.flip(there, 1)
        for below, above in zip(total, layer, strict=True):
            cv2.copyTo(above, there, below)
    return total


def placed(image: Size, size: Size, place: Augmentation | Piece) -> np.ndarray:
    """Matrix of an augmentation, 2 x 3, photograph -> crop."""
    matrix = crop_matrix(image, size, scale=place.scale, rotation=place.rotation)
    matrix[:, 2] += np.multiply(place.shift, size[::-1])
    return matrix


def mirrored(crop: Arrays, mirror: np.ndarray) -> Arrays:
    """Mirror image of the crop, with left and right classes swapped."""
    return Arrays(cv2.flip(crop.image, 1), cv2.LUT(cv2.flip(crop.label, 1), mirror), cv2.flip(crop.edge, 1))


def read_pair(sample: Sample, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read image and label of one sample, of one size and with known classes.

    Raises:
        DatasetError: either cannot be read, the sizes differ, or the label has a value outside the label set.
    """
    image, label = read_image(sample.image), read_label(sample.label)
    if image.shape[:2] != label.shape:
        (h, w), (height, width) = label.shape, image.shape[:2]
        raise DatasetError(f"{sample.label}: {w} x {h}, its image is {width} x {height}; make them one size")
    check_values(label, classes, str(sample.label))
    return image, label


def check_values(label: np.ndarray, classes: int, where: str) -> None:
    """Raise DatasetError where a label holds a value that is neither a class nor 255."""
    if bad := unknown_values(label, classes):
        raise DatasetError(
            f"{where}: value {bad[0]} is not one of the {classes} classes (0 to {classes - 1}, {IGNORE} ignored); "
            "fix the label or name its label set with --label-set"
        )


def collate(items: Sequence[tuple[Arrays, int]]) -> Batch:
    """Stack samples into a batch."""
    arrays, indices = zip(*items, strict=True)
    image, label, edge = (torch.from_numpy(np.stack(field)) for field in zip(*arrays, strict=True))
    return Batch(image, label, edge, torch.tensor(indices))
