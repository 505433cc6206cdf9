"""Small raw datasets in exactly the published layouts, made of drawn faces. Also what the benchmarks measure on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from faceparse.core.drawing.drawn_face import DrawnFace, draw_face
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.labels.label_set import get_label_set

HELEN_TO_CELEBA = (
    "background",
    "skin",
    "r_brow",
    "l_brow",
    "r_eye",
    "l_eye",
    "nose",
    "u_lip",
    "mouth",
    "l_lip",
    "hair",
)
"""The drawn classes under CelebAMask-HQ's names: there, left is the subject's, so the image's right."""


@dataclass(frozen=True)
class Face:
    """A drawn face, turned: (0, 0) is the image's corner, all in pixels of the image."""

    image: np.ndarray
    label: np.ndarray
    points: np.ndarray


@cache
def _drawn(seed: int, size: int) -> DrawnFace:
    return draw_face(np.random.default_rng([77, seed]), size)


def face(seed: int, size: tuple[int, int] = (96, 80)) -> Face:
    """A face, a little turned, in an image of `size` (height, width)."""
    height, width = size
    side = min(size)
    drawn = _drawn(seed, side)
    random = np.random.default_rng([78, seed])
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), float(random.uniform(-20, 20)), 0.8)
    matrix[:, 2] += np.array([(width - side) / 2, (height - side) / 2])
    return Face(
        cv2.warpAffine(drawn.image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE),
        cv2.warpAffine(drawn.label, matrix, (width, height), flags=cv2.INTER_NEAREST),
        drawn.points @ matrix[:, :2].T + matrix[:, 2],
    )


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def make_helen(root: Path, splits: tuple[int, int, int] = (4, 2, 2), *, points: bool = True) -> Path:
    """Soft maps, the three lists, and S. Liu's points."""
    number = 0
    for list_name, count in zip(("exemplars.txt", "tuning.txt", "testing.txt"), splits, strict=True):
        lines = []
        for _ in range(count):
            number += 1
            name = f"{1000 + number}_1"
            one = face(number)
            write(root / "images" / f"{name}.jpg", encode_jpeg(one.image))
            for i in range(11):
                soft = cv2.GaussianBlur(np.where(one.label == i, 255, 0).astype(np.uint8), (5, 5), 0)
                write(root / "labels" / name / f"{name}_lbl{i:02d}.png", encode_png(soft))
            if points:
                rows = "".join(f"{x:.6f} , {y:.6f}\n" for x, y in helen_points(one.points))
                write(root / "points" / f"{number}.txt", f"{name}\n{rows}")
            lines.append(f"{number} , {name}\n")
        write(root / list_name, "".join(lines))
    return root


def helen_points(five: np.ndarray) -> np.ndarray:
    """194 points in which the five are found again."""
    points = np.tile(five.mean(axis=0), (194, 1))
    for eye, chosen in ((five[0], (134, 145, 140, 149)), (five[1], (114, 125, 119, 130))):
        points[list(chosen)] = eye
    points[49], points[113], points[100] = five[2], five[3], five[4]
    return points


def make_lapa(root: Path, splits: tuple[int, int, int] = (4, 2, 2), size: tuple[int, int] = (96, 80)) -> Path:
    number = 0
    for split, count in zip(("train", "val", "test"), splits, strict=True):
        for _ in range(count):
            number += 1
            one = face(number, size)
            write(root / split / "images" / f"{number}_0.jpg", encode_jpeg(one.image))
            write(root / split / "labels" / f"{number}_0.png", encode_png(one.label))
            points = np.tile(one.points.mean(axis=0), (106, 1))
            points[[104, 105, 54, 84, 90]] = one.points
            rows = "".join(f"{x:.6f} {y:.6f}\n" for x, y in points)
            write(root / split / "landmarks" / f"{number}_0.txt", f"106\n{rows}")
    return root


BORDERS = (1, 162770, 162771, 182637, 182638, 202599)
"""First and last file of CelebA's train, val and test."""


def make_celebamask_hq(root: Path, originals: Sequence[int] = BORDERS, size: int = 96) -> Path:
    """Photographs of twice the masks' size, parts without pixels left out; `originals` are CelebA's file numbers."""
    names = get_label_set("celebamask-hq").names
    rows = []
    for index, original in enumerate(originals):
        one = face(index, (size, size))
        image = cv2.resize(one.image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        write(root / "CelebA-HQ-img" / f"{index}.jpg", encode_jpeg(image))
        for i, part in enumerate(HELEN_TO_CELEBA):
            mask = np.where(one.label == i, 255, 0).astype(np.uint8)
            if part == "skin":  # painted first: parts lie over it
                mask = np.where(np.isin(one.label, range(1, 10)), 255, 0).astype(np.uint8)
            if part != "background" and mask.any():
                assert part in names
                write(
                    root / "CelebAMask-HQ-mask-anno" / str(index // 2000) / f"{index:05d}_{part}.png", encode_png(mask)
                )
        rows.append(f"{index:5d} {original - 1:8d}   {original:06d}.jpg\n")
    write(root / "CelebA-HQ-to-CelebA-mapping.txt", "idx    orig_idx     orig_file\n" + "".join(rows))
    return root


def make_ibugmask(root: Path, train: int = 5, test: int = 2) -> Path:
    number = 0
    for split, count in (("train", train), ("test", test)):
        for _ in range(count):
            number += 1
            one = face(number)
            folder = root / "ibugmask_release" / split
            write(folder / f"{number}.jpg", encode_jpeg(one.image))
            write(folder / f"{number}.png", encode_png(one.label))
            points = np.tile(one.points.mean(axis=0), (68, 1))
            points[36:42], points[42:48], points[30], points[48], points[54] = one.points
            write(folder / f"{number}_landmark.txt", "".join(f"{x:.4f} {y:.4f}\n" for x, y in points))
    return root
