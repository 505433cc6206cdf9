"""Measure soft masks: how near they are to the known coverage of drawn faces, and how much they flicker in films.

    python -m benchmarks.matte [FACES]        the table of faces that were not tuned on
    python -m benchmarks.matte --tune [FACES] other faces, with each contrast, radius and eps

The shipped model parses each drawn face in the crops that `predict` makes of it. Truth is the share of each pixel that
hair, or the whole head, covers: counted on 2 x 2 sub-pixels, then blurred as the drawn camera blurs the picture.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from faceparse.core.drawing.drawn_classes import BACKGROUND, HAIR
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.drawing.face_parameters import sample_parameters
from faceparse.core.faces import matte
from faceparse.core.faces.crops import Crop, crop_picture, paste, settle
from faceparse.core.faces.face import Face
from faceparse.core.images.overlay import class_mask
from faceparse.core.images.warp import unwarp_label
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import copy_to_host, load_parser
from faceparse.core.prediction.smoothing import Smoother

SIZE, FINE, FACES, TUNED_ON = 1024, 2, 8, 1000
BODY = ("background", "neck", "neck_l", "cloth")
"""Classes outside the head: the drawn body is background."""
FRAMES, NOISE, SHIFT, KEEP = 6, 3.0, 0.7, 0.8
"""Frames of a film, standard deviation of a camera's noise in grey levels, pixels by which a face moves, `--smooth`."""
LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

MODEL = load_model_from("celebamask-hq-light")
PARSER = load_parser(MODEL, torch.device("cpu"))
KEPT = {
    "hair": MODEL.label_set.ids(["hair"]),
    "head": MODEL.label_set.ids(name for name in MODEL.label_set.names if name not in BODY),
}


@dataclass(frozen=True)
class Parsed:
    """A drawn face and the network's answers to it."""

    image: np.ndarray
    crops: Sequence[Crop]
    answers: Sequence[np.ndarray]
    label: np.ndarray
    owner: np.ndarray

    def shares(self, what: str) -> list[np.ndarray]:
        """Probability of the classes in each crop."""
        return [matte.softmax(answer)[list(KEPT[what])].sum(axis=0) for answer in self.answers]


Method = Callable[[Parsed, str], np.ndarray]
"""Function that gives the mask of hair or head, H x W from 0 to 1."""


def parse(image: np.ndarray, face: Face) -> Parsed:
    """Parse one face as `predict` does."""
    crops = crop_picture(image, [face], PARSER.input_size, MODEL.geometry)
    logits = PARSER.logits(torch.from_numpy(np.stack([crop.image for crop in crops])))
    answers = settle([copy_to_host(one)() for one in logits], crops)
    return pasted(image, crops, answers)


def pasted(image: np.ndarray, crops: Sequence[Crop], answers: Sequence[np.ndarray]) -> Parsed:
    """The answers with the labels that they make."""
    found = paste(answers, crops, (image.shape[0], image.shape[1]))
    return Parsed(image, crops, answers, found.label, found.owner)


def drawn(seed: int) -> tuple[Parsed, dict[str, np.ndarray]]:
    """A parsed face and the true coverage of hair and head."""
    picture, fine = (draw_face(np.random.default_rng(seed), size) for size in (SIZE, FINE * SIZE))
    blur = max(sample_parameters(np.random.default_rng(seed)).blur * SIZE, 0.1)
    truth = {
        what: cv2.GaussianBlur(
            cv2.resize(inside.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA), (0, 0), blur
        )
        for what, inside in (("hair", fine.label == HAIR), ("head", fine.label != BACKGROUND))
    }
    return parse(picture.image, face_of(picture.points)), truth


def face_of(points: np.ndarray) -> Face:
    """A face by its points."""
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return Face((left, top, right - left, bottom - top), points=points)


def enlarged(parsed: Parsed, planes: Sequence[np.ndarray], flags: int) -> np.ndarray:
    """Planes of the crops at the picture's size; the aligned crop wins."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for crop, plane in sorted(zip(parsed.crops, planes, strict=True), key=lambda one: not one[0].wide):
        warped = cv2.warpAffine(plane, crop.matrix, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        there = unwarp_label(np.ones(plane.shape, np.uint8), crop.matrix, (SIZE, SIZE)) != 0
        np.copyto(total, warped, where=there)
    return total


def nearest(parsed: Parsed, what: str) -> np.ndarray:
    """The crops' classes, enlarged by nearest neighbour."""
    masks = [
        class_mask(answer.argmax(axis=0).astype(np.uint8), KEPT[what]) / np.float32(255) for answer in parsed.answers
    ]
    return enlarged(parsed, masks, cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)


def labels(parsed: Parsed, what: str) -> np.ndarray:
    """The labels that `predict` saves."""
    return class_mask(parsed.label, KEPT[what]) / 255


def bilinear(parsed: Parsed, what: str) -> np.ndarray:
    """The probabilities, enlarged."""
    return enlarged(parsed, parsed.shares(what), LINEAR)


def refined(parsed: Parsed, what: str) -> np.ndarray:
    """`--save alpha`."""
    probabilities = [matte.softmax(answer) for answer in parsed.answers]
    return matte.matte(parsed.image, probabilities, parsed.crops, parsed.owner, KEPT[what]) / 255


METHODS: dict[str, Method] = {
    "nearest": nearest,
    "labels of predict": labels,
    "bilinear": bilinear,
    "refined (`--save alpha`)": refined,
}


def errors(method: Method, parsed: Parsed, truth: dict[str, np.ndarray]) -> list[float]:
    """Mean absolute error of hair and of the head: of the picture, and near edges that the model found.

    Near is at most 8 pixels from a pixel that is partly covered, and at most 12 from the model's own edge. There, the
    error is that of the edge; elsewhere, it is that of classes which the model takes for others.
    """
    found = []
    for what, expected in truth.items():
        wrong = np.abs(method(parsed, what) - expected)
        edge = cv2.dilate(((expected > 0.02) & (expected < 0.98)).astype(np.uint8), np.ones((17, 17), np.uint8))
        seen = cv2.morphologyEx(class_mask(parsed.label, KEPT[what]), cv2.MORPH_GRADIENT, np.ones((25, 25), np.uint8))
        found += [float(wrong.mean()), float(wrong[(edge > 0) & (seen > 0)].mean())]
    return found


def changes(face: Face, image: np.ndarray, shift: float, keep: float) -> dict[str, list[float]]:
    """Absolute change of hair's mask from frame to frame, as a share of its area, by method, for each pair of frames.

    A moving face takes the mask before with it, so that only what is wrong counts.
    """
    smoother, before, found = Smoother(keep), dict[str, np.ndarray](), dict[str, list[float]]()
    noise = np.random.default_rng(0)
    for i in range(FRAMES):
        moved = cv2.warpAffine(
            image, np.array([[1, 0, i * shift], [0, 1, 0]]), (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE
        )
        frame = np.clip(np.rint(moved + noise.normal(0, NOISE, moved.shape)), 0, 255).astype(np.uint8)
        assert face.points is not None
        crops = crop_picture(frame, [face_of(face.points + (i * shift, 0))], PARSER.input_size, MODEL.geometry)
        logits = PARSER.logits(torch.from_numpy(np.stack([crop.image for crop in crops])))
        averaged = smoother(crops, list(logits))  # their logarithms are logits of the same probabilities
        answers = settle([copy_to_host(one)() for one in averaged], crops)
        parsed = pasted(frame, crops, [np.log(np.maximum(one, 1e-12)) for one in answers])
        for name, method in METHODS.items():
            mask = method(parsed, "hair").astype(np.float32)
            if name in before:
                last = shifted(before[name], shift)
                found.setdefault(name, []).append(float(np.abs(mask - last).sum() / last.sum()))
            before[name] = mask
    return found


def shifted(image: np.ndarray, shift: float) -> np.ndarray:
    """The picture, moved to the right."""
    return cv2.warpAffine(image, np.array([[1, 0, shift], [0, 1, 0]]), (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)


def _table(rows: Iterator[tuple[str, list[float]]], *headings: str) -> None:
    print("| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))
    for name, numbers in rows:
        print(f"| {name} | " + " | ".join(f"{100 * number:.2f}" for number in numbers) + " |", flush=True)


HEADINGS = ("mask", "hair: picture", "hair: edges", "head: picture", "head: edges")


def report(count: int) -> None:
    """Print both tables."""
    faces = [drawn(seed) for seed in range(count)]
    _table(
        ((name, list(np.mean([errors(method, *one) for one in faces], axis=0))) for name, method in METHODS.items()),
        *HEADINGS,
    )
    columns = []
    for shift in (0.0, SHIFT):
        for keep in (0.0, KEEP):
            films = []
            for seed in range(min(count, 2)):
                picture = draw_face(np.random.default_rng(seed), SIZE)
                films.append(changes(face_of(picture.points), picture.image, shift, keep))
            columns.append({name: float(np.mean([film[name] for film in films])) for name in METHODS})
    rows = ((name, [column[name] for column in columns]) for name in METHODS)
    _table(rows, "mask of hair", "still", "still, --smooth 0.8", "moving", "moving, --smooth 0.8")


def tune(count: int) -> None:
    """Print the errors of each radius and eps, on faces that are not reported."""
    faces = [drawn(TUNED_ON + seed) for seed in range(count)]

    def rows() -> Iterator[tuple[str, list[float]]]:
        for name, method in METHODS.items():
            yield name, list(np.mean([errors(method, *one) for one in faces], axis=0))
        for matte.CONTRAST, matte.CONTRAST_AFTER in ((1.0, 1.0), (4.0, 1.0), (4.0, 1.5), (4.0, 2.0), (8.0, 1.5)):
            for matte.RADIUS in (4, 8, 16, 32):
                for matte.EPS in (1e-3, 1e-4, 1e-5):
                    name = f"{matte.CONTRAST:g}, {matte.CONTRAST_AFTER:g}, radius {matte.RADIUS}, eps {matte.EPS:g}"
                    yield name, list(np.mean([errors(refined, *one) for one in faces], axis=0))

    _table(rows(), *HEADINGS)


if __name__ == "__main__":
    words = sys.argv[1:]
    tuning = "--tune" in words
    numbers = [int(word) for word in words if word.isdigit()]
    (tune if tuning else report)(numbers[0] if numbers else FACES)
