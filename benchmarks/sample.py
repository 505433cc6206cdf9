"""One training sample against decoding its files and warping image and label alone."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.harness import Result, make_faces, medians, overhead
from faceparse.core.data.dataset import Normalise, TrainingSet
from faceparse.core.data.transforms import crop_matrix
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.labels import IGNORE, get_label_set
from faceparse.core.settings import DataSettings


def run() -> list[Result]:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_faces(Path(folder), 12, 512)
        sample = DatasetFolder(Path(folder)).samples("train")[0]
        settings = DataSettings(root=Path(folder), random_mirror=True)
        dataset = TrainingSet([sample], get_label_set("helen"), settings, seed=0)
        normalise = Normalise(settings)
        matrix = crop_matrix((512, 512), settings.input_size, scale=1.1, rotation=10)
        width, height = settings.input_size[::-1]
        epoch = 0

        def ours() -> None:
            nonlocal epoch
            epoch += 1  # another augmentation each time
            arrays, _ = dataset[epoch, 0]
            normalise(torch.from_numpy(arrays.image)[None])

        def floor() -> None:
            image, label, _ = (_decode(path) for path in (sample.image, sample.label, sample.edge))
            cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
            cv2.warpAffine(label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE)

        taken, alone = medians(ours, floor, rounds=200)
    torch.set_num_threads(2)
    return [overhead("sample: decode, warp, normalise, against decode and the two warps alone", taken, alone, 1.25)]


def _decode(path: Path) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB if path.suffix == ".jpg" else cv2.IMREAD_UNCHANGED
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    assert image is not None
    return image
