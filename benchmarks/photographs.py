"""Compare the way from a photograph to its labels, JPEG to PNG, with its bare parts, and with YuNet in place.

Needs dataset/CelebAMask-HQ, and pictures without faces in dataset/backgrounds/report. The photographs, 1024 x 768 with
one face and with six, are composites whose faces are nearly upright, so that YuNet finds them, too.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.composites import composites
from benchmarks.harness import BACKGROUNDS, DATASET, YUNET, Result, are_here, medians, overhead
from faceparse.core.api import FaceParser
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.faces.face import Finder
from faceparse.core.faces.finders_from_files import YuNet
from faceparse.core.faces.own_finder import own_finder
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.images.palette import encode_palette_png
from faceparse.core.images.read_photograph import decode_image
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.load import load_model_from
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.parser.inference import Parser, load_parser
from faceparse.core.parser.trained import Network, PictureNetwork, TrainedModel

ANGLE = 10.0
"""Largest angle of a face, in degrees."""
COUNTS = {"one face": 1, "six faces": 6}


def run() -> list[Result]:
    """Measure photographs with one face and with six."""
    if not are_here("a photograph to its labels", DATASET, BACKGROUNDS):
        return []
    model = load_model_from(DEFAULT)
    parser = load_parser(model, torch.device("cpu"))
    own = own_finder(parser, model.geometry, model.label_set)
    assert own is not None
    finders = {"auto": own}
    if are_here("a photograph to its labels with YuNet", YUNET):
        finders = {str(YUNET): YuNet(YUNET)} | finders  # it refuses a composite sooner, so ask it first
    whole = FaceParser(parser, model.label_set, model.geometry)
    results = []
    for name, count in COUNTS.items():
        jpeg = photograph(count, finders.values(), model.label_set)
        parts = Parts(jpeg, parser, model)
        by_finder = {faces: partial(label_png, whole, jpeg, faces) for faces in finders}
        floor, *taken = medians(parts, *by_finder.values(), rounds=7)
        seconds = dict(zip(by_finder, taken, strict=True))
        ours = seconds.pop("auto")
        what = f"photographs: JPEG to PNG of labels, {name}"
        results.append(overhead(f"{what}, against its parts alone", ours, floor, 1.2))
        results += [overhead(f"{what}, against the same with YuNet", ours, peer, 10) for peer in seconds.values()]
    return results


def label_png(whole: FaceParser, jpeg: bytes, faces: str) -> bytes:
    """PNG of a JPEG's labels."""
    return encode_palette_png(whole.predict(jpeg, faces=faces).labels, whole.label_set.palette())


def photograph(count: int, finders: Iterable[Finder], label_set: LabelSet) -> bytes:
    """JPEG of the first composite with `count` faces in which each finder finds them and nothing else."""
    samples = DatasetFolder(DATASET).samples("val")[1::2]
    for composite in composites(2000, samples, BACKGROUNDS, label_set, seed=2, least=count, most_angle=ANGLE):
        if len(composite.faces) == count and all(face.whole for face in composite.faces):
            jpeg = encode_jpeg(composite.image)
            picture = decode_image(jpeg, "")
            if all(len(finder("", picture)) == count for finder in finders):
                return jpeg
    raise AssertionError(f"no composite has {count} faces that are all found")


class Watched(Parser):
    """A parser that remembers N, H, W of the pictures that the finder parses."""

    def __init__(self, network: Network, device: torch.device) -> None:
        super().__init__(network, device)
        self.looks: list[tuple[int, ...]] = []

    def part_maps(self, pictures: np.ndarray, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """Remember the size, and parse."""
        self.looks.append(pictures.shape[:3])
        return super().part_maps(pictures, parts)


class Parts:
    """The necessary work for a photograph's labels, replayed.

    It makes every pass of the network, and a warp for each of its pictures, but no search, alignment, choice or seams.
    """

    def __init__(self, jpeg: bytes, parser: Parser, model: TrainedModel) -> None:
        assert isinstance(parser.network, PictureNetwork)
        self._jpeg, self._network = np.frombuffer(jpeg, np.uint8), parser.network
        watched = Watched(parser.network, parser.device)
        self._crops = FaceParser(watched, model.label_set, model.geometry).predict(jpeg)._crops
        self._looks = watched.looks

    @torch.inference_mode()
    def __call__(self) -> None:
        """Do the work once."""
        image = cv2.imdecode(self._jpeg, cv2.IMREAD_COLOR_RGB)
        assert image is not None
        height, width = image.shape[:2]
        for count, h, w in self._looks:
            zoom = np.array([[w / width, 0, 0], [0, h / height, 0.0]])
            self._network.coarse(_stack(cv2.warpAffine(image, zoom, (w, h)) for _ in range(count)))
        labels = np.zeros((height, width), np.uint8)
        for crop in self._crops:
            h, w = self._network.input_size
            logits = self._network(_stack([cv2.warpAffine(image, crop.matrix, (w, h))]))
            ids = logits[0].max(dim=0).indices.to(torch.uint8).numpy()
            back = cv2.warpAffine(ids, crop.matrix, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
            np.copyto(labels, back, where=back != 0)
        cv2.imencode(".png", labels)


def _stack(pictures: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(list(pictures)))
