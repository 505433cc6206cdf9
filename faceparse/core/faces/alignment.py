"""Alignment ("registration"): a similarity that moves five points of a face to a template.

The five points, in image order: eye centre at the image left, eye centre at the image right, nose tip, mouth corner at
the image left, mouth corner at the image right. N x 2 float64 (x, y), pixel centres.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.warp import Size, apply, invert, warp_image, warp_label
from faceparse.core.labels.classes import Classes
from faceparse.core.text.paths import decode_text
from faceparse.core.text.toml_json import read_toml

Method = Literal["auto", "landmarks", "labels"]
OnMissing = Literal["identity", "skip", "fail"]

FARL_512 = ((196.0, 226.0), (316.0, 226.0), (256.0, 286.0), (220.0, 360.4), (292.0, 360.4))
"""Template of FaRL (Zheng et al., CVPR 2022) for a crop of 512 x 512."""

MAX_RESIDUAL = 0.5
"""Largest root mean square distance between moved points and template, in eye distances of the template.

Five points beyond it are no face: a profile has 0.3 to 0.4, eyes with swapped sides have 0.54."""


class UnusablePointsError(Exception):
    """Five points without a similarity: missing, outside the image, or degenerate."""


@dataclass(frozen=True)
class Alignment:
    """How faces are aligned."""

    method: Method
    """Source of the points: landmark files, the label map itself, or `auto` (files where the dataset has them)."""
    size: int
    """Side of the aligned image."""
    template: tuple[tuple[float, float], ...]
    """Five points in the aligned image."""
    on_missing: OnMissing
    """How to treat a face without usable points: skip it, keep it as it is, or fail."""

    def describe(self) -> dict[str, Any]:
        """Plain containers for a prepared dataset's description."""
        return {
            "align": self.method,
            "size": self.size,
            "template": [list(point) for point in self.template],
            "on_missing": self.on_missing,
        }


def make_alignment(method: str, *, size: int, template: str, on_missing: str) -> Alignment:
    """Check the options, and return the alignment.

        make_alignment("auto", size=512, template="farl", on_missing="skip")

    Raises:
        SettingsError: an unknown method, template or rule.
    """
    known_method = next((name for name in get_args(Method) if name == method), None)
    known_rule = next((name for name in get_args(OnMissing) if name == on_missing), None)
    if known_method is None:
        raise SettingsError(f"--align {method!r}: not one of {', '.join(get_args(Method))}, none")
    if known_rule is None:
        raise SettingsError(f"--on-missing {on_missing!r}: not one of {', '.join(get_args(OnMissing))}")
    return Alignment(known_method, size, read_template(template, size), known_rule)


def read_template(name: str, size: int) -> tuple[tuple[float, float], ...]:
    """Five points for a crop of `size` x `size`: `farl`, or a TOML file with `size` and `points`.

    Raises:
        SettingsError: neither, or a file with other content.
    """
    if name == "farl":
        side = 512.0
        points: tuple[tuple[float, float], ...] = FARL_512
    elif name.endswith(".toml"):
        points, side = _template_file(Path(name))
    else:
        raise SettingsError(f"--template {name!r}: not farl, nor a .toml file with size and five points")
    return tuple((x * size / side, y * size / side) for x, y in points)


def _template_file(path: Path) -> tuple[tuple[tuple[float, float], ...], float]:
    try:
        content = read_toml(path)
        points, side = np.array(content["points"], np.float64), float(content["size"])
    except (OSError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{path}: not a template ({error}); it has size = 512 and points = [[x, y], ...]") from None
    if points.shape != (5, 2) or not np.isfinite(points).all() or not 0 < side < np.inf:
        raise SettingsError(f"{path}: points has shape {points.shape}; a template is five points (x, y) and a size")
    if not 0.02 < np.ptp(points, axis=0).min() / side <= np.ptp(points, axis=0).max() / side < 2:
        raise SettingsError(f"{path}: its points lie together, or far outside its size; they are those of a face")
    return tuple((float(x), float(y)) for x, y in points), side


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Similarity that moves N x 2 points `source` nearest to `target`, by least squares. 2 x 3 float64.

    It has a rotation, one scale and a translation, and no shear or reflection (Umeyama, PAMI 1991, in its closed form
    for the plane).

    Raises:
        UnusablePointsError: all source points are one.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    centred = z - z.mean()
    spread = float((abs(centred) ** 2).sum())
    if not spread > 0:
        raise UnusablePointsError("all points are one")
    a = (centred.conj() * (w - w.mean())).sum() / spread  # rotation and scale as one complex number
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def alignment_matrix(points: np.ndarray, alignment: Alignment, image: Size) -> np.ndarray:
    """Similarity from the original image to the aligned one, 2 x 3.

    Raises:
        UnusablePointsError: a point is outside the image, or they do not look like a face.
    """
    height, width = image
    if not np.isfinite(points).all():
        raise UnusablePointsError("a point is missing")
    if (points < -0.5).any() or (points > np.array([width, height]) - 0.5).any():
        raise UnusablePointsError("a point lies outside the image")
    longest, shortest = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if longest < 4 or shortest < 0.02 * longest:
        raise UnusablePointsError("the points lie on one spot or on one line")
    template = np.array(alignment.template)
    matrix = similarity(points, template)
    residual = np.sqrt(((apply(matrix, points) - template) ** 2).sum(axis=1).mean())
    if residual > MAX_RESIDUAL * np.linalg.norm(template[1] - template[0]):
        raise UnusablePointsError("the points do not lie like those of a face")
    return matrix


@dataclass(frozen=True)
class Aligned:
    """One aligned photograph."""

    image: np.ndarray
    """Aligned image, size x size x 3 uint8 RGB; black where the original has nothing."""
    label: np.ndarray
    """Aligned label, size x size uint8; background where the original has nothing."""
    project: np.ndarray
    """Matrix from the aligned photograph to the original, 2 x 3 float64."""


def align(image: np.ndarray, label: np.ndarray, matrix: np.ndarray, size: int) -> Aligned:
    """Align an image and its label. The image is sampled bilinear.

    The label is H x W ids (nearest), or C x H x W soft maps (bilinear, then argmax).
    """
    square = (size, size)
    if label.ndim == 3:
        warped = harden(np.stack([warp_image(one, matrix, square) for one in label]))
    else:
        warped = warp_label(label, matrix, square, border=0)
    return Aligned(warp_image(image, matrix, square), warped, invert(matrix))


def harden(label: np.ndarray) -> np.ndarray:
    """H x W ids of a label: ids as they are, C x H x W soft maps by argmax. Ties go to the lower id."""
    return label.argmax(axis=0).astype(np.uint8) if label.ndim == 3 else label


def label_points(label: np.ndarray, label_set: Classes) -> np.ndarray:
    """Five points from an H x W label: centroids of the eyes and the nose, and the mouth's ends along the eye axis.

    The nose's centroid lies above its tip. So faces come out about a fortieth of the crop lower than with landmarks.

    The label set must have `landmarks`.

    Raises:
        UnusablePointsError: a part is missing from the label.
    """
    parts = label_set.landmarks
    left, right = _eyes([_pixels(label, label_set, (name,)) for name in parts["eyes"]], label.shape)
    nose, mouth = (_pixels(label, label_set, parts[part]) for part in ("nose", "mouth"))
    for part, pixels in (("nose", nose), ("mouth", mouth)):
        if len(pixels) == 0:
            raise UnusablePointsError(f"no {part} in the label")
    along = mouth @ (right - left)
    step = np.linalg.norm(right - left)  # one pixel along the eye axis
    corners = [mouth[along <= along.min() + step], mouth[along >= along.max() - step]]
    return np.stack([left, right, nose.mean(axis=0), *(corner.mean(axis=0) for corner in corners)])


def _pixels(label: np.ndarray, label_set: Classes, names: tuple[str, ...]) -> np.ndarray:
    """Pixels of the classes, N x 2 float64 (x, y)."""
    y, x = np.nonzero(np.isin(label, label_set.ids(names)))
    return np.stack([x, y], axis=1).astype(np.float64)


def _eyes(eyes: list[np.ndarray], shape: Size) -> tuple[np.ndarray, np.ndarray]:
    """Centroids of two classes, or of the two largest pieces of one."""
    if len(eyes) == 1:
        mask = np.zeros(shape, np.uint8)
        x, y = eyes[0].astype(int).T
        mask[y, x] = 1
        count, _, stats, centroids = cv2.connectedComponentsWithStats(mask)
        largest = 1 + np.argsort(stats[1:count, cv2.CC_STAT_AREA])[::-1][:2]
        if len(largest) < 2:
            raise UnusablePointsError("fewer than two eyes in the label")
        left, right = sorted((centroids[i] for i in largest), key=lambda centre: float(centre[0]))
        return left, right
    if any(len(eye) == 0 for eye in eyes):
        raise UnusablePointsError("fewer than two eyes in the label")
    return eyes[0].mean(axis=0), eyes[1].mean(axis=0)


# Landmark files.

_INDICES = {
    # count: (eye left, eye right, nose, mouth corners), each the mean of the points at these positions
    5: ((0,), (1,), (2,), (3,), (4,)),
    68: (range(36, 42), range(42, 48), (30,), (48,), (54,)),
    106: ((104,), (105,), (54,), (84,), (90,)),
}
"""Positions from 0 in the schemes: five points, the 68 of iBUG 300-W, the 106 of LaPa."""


def read_five_points(path: Path, *, count: int | None = None, header: bool = False) -> np.ndarray:
    """Read the five points from a landmark file of a known scheme: 5, 68, 106 or Helen's 194 points.

    Args:
        count: number of points that the file must have. Default: any of these.
        header: the first line is not a point (a count or an id).

    Raises:
        DatasetError: the file is missing or not text, a line is no point, or the number of points is another one.
    """
    points = _read_points(path, header=header)
    expected = [count] if count else [*_INDICES, 194]
    if len(points) not in expected:
        known = " or ".join(map(str, expected))
        raise DatasetError(f"{path}: has {len(points)} points, not {known}; download it again")
    if len(points) == 194:
        return _helen_points(points)
    return np.stack([points[list(chosen)].mean(axis=0) for chosen in _INDICES[len(points)]])


def _helen_points(p: np.ndarray) -> np.ndarray:
    """Five points from Helen's 194, with the indices of other projects; not checked against a download."""
    (x, y), corners = (0, 1), p[[113, 100]]
    left = np.array([p[[134, 145], x].mean(), p[[140, 149], y].mean()])
    right = np.array([p[[114, 125], x].mean(), p[[119, 130], y].mean()])
    corners = corners[np.argsort(corners @ (right - left))]  # in image order, whatever the direction of the contour
    return np.stack([left, right, p[49], *corners])


def _read_points(path: Path, *, header: bool) -> np.ndarray:
    """Points of a text file with one point a line, `x y` or `x , y`. N x 2 float64."""
    try:
        lines = decode_text(path.read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as landmarks ({error})") from None
    points = []
    for number, line in enumerate(lines, 1):
        fields = line.replace(",", " ").split()
        if not fields or (header and number == 1):
            continue
        try:
            x, y = map(float, fields)
        except ValueError:
            raise DatasetError(f"{path}:{number}: {line.strip()[:40]!r} is not a point 'x y'; fix the file") from None
        points.append((x, y))
    return np.array(points, np.float64).reshape(-1, 2)
