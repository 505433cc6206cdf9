"""Compare one training sample with decoding its three files and warping image and label alone."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.harness import Result, make_faces, medians, one_thread, overhead
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.files.packed import Stored
from faceparse.core.images.warp import crop_matrix
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.normalise import Normalise
from faceparse.core.sampling.augmentation import draw_augmentation
from faceparse.core.sampling.samples import TrainingSet
from faceparse.core.settings import DataSettings

ROUNDS = 300


def run() -> list[Result]:
    """Measure one training sample."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        make_faces(Path(folder), 12, 512)
        sample = DatasetFolder(Path(folder)).samples("train")[0]
        settings = DataSettings(root=Path(folder), random_mirror=True)
        dataset = TrainingSet([sample], get_label_set("helen"), settings, seed=0)
        normalise = Normalise(settings)
        # Another augmentation each time, but the same for both: a large rotation takes longer to warp.
        augmentations = [draw_augmentation(settings, seed=0, epoch=epoch, index=0) for epoch in range(ROUNDS + 1)]
        size = settings.input_size
        matrices = iter([crop_matrix((512, 512), size, scale=a.scale, rotation=a.rotation) for a in augmentations])
        epochs = iter(range(ROUNDS + 1))
        width, height = size[::-1]

        def ours() -> None:
            arrays, _ = dataset[next(epochs), 0]
            normalise(torch.from_numpy(arrays.image)[None])

        def floor() -> None:
            matrix = next(matrices)
            image, label, _ = (_decode(path) for path in (sample.image, sample.label, sample.edge))
            cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
            cv2.warpAffine(label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE)

        taken, alone = medians(ours, floor, rounds=ROUNDS)
    return [
        overhead("sample: decode, warp, normalise, against decoding its files and two warps alone", taken, alone, 1.25)
    ]


def _decode(path: Stored) -> np.ndarray:
    assert isinstance(path, Path)
    flags = cv2.IMREAD_COLOR_RGB if path.suffix == ".jpg" else cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    assert image is not None
    return image
