"""The outlines of a face's parts, and its five points, in the face frame."""

import numpy as np
import numpy.typing as npt

from faceparse.core.drawing.curves import Points, arc, between, centroid, dome, ellipse, mirrored, ribbon
from faceparse.core.drawing.face_parameters import FaceParameters

LEFT, RIGHT = SIDES = (-1, 1)  # the sign of x: the viewer's left and right

LONG_HAIR = 0.5  # hair is long where its ends hang lower than this y


def turn(face: FaceParameters, points: npt.ArrayLike, reach: npt.ArrayLike = 0.0) -> Points:
    """Points on an upright cylinder as wide as the head, `reach` in front of it, after the head has turned."""
    x, y = np.asarray(points, np.float64).T
    depth = np.sqrt(np.maximum(face.width**2 - x**2, 0)) + reach
    return np.stack([x * np.cos(face.yaw) + depth * np.sin(face.yaw), y], axis=-1)


def turn_nose(face: FaceParameters, points: npt.ArrayLike) -> Points:
    """Points of the nose after the head has turned. The lower a point is, the further it stands out."""
    y = np.asarray(points)[..., 1]
    return turn(face, points, reach=0.3 * np.clip((y - face.eye_line) / face.nose_length, 0, 1))


def chin_line(face: FaceParameters) -> float:
    """The y of the chin, which an open mouth lowers."""
    return 1.0 + 0.45 * face.mouth_opening


def _brow_line(face: FaceParameters) -> float:
    """The y of the middle of the brows before their arch."""
    return face.eye_line - face.eye_opening - face.brow_gap


def nose_line(face: FaceParameters) -> float:
    """The y of the base of the nose."""
    return face.eye_line + face.nose_length


def head_outline(face: FaceParameters) -> Points:
    """The outline of the head from skull to chin."""
    w, chin = face.width, chin_line(face)
    skull = [(0, -1), (0.60 * w, -0.87), (0.93 * w, -0.50), (w, -0.08), (0.96 * w, 0.30)]
    outline = mirrored([*skull, (face.jaw * w, 0.64), (face.chin * w, chin - 0.09), (0, chin)])
    outline[:, 0] += 0.16 * np.sin(face.yaw) * np.clip(outline[:, 1], 0, None) ** 2  # the chin is in front of the axis
    return outline


def ear_outline(face: FaceParameters, side: int) -> Points:
    """The outline of one ear."""
    return ellipse((side * (face.width + 0.01) - 0.35 * np.sin(face.yaw), face.eye_line + 0.14), (0.10, 0.20))


def lids(face: FaceParameters, side: int) -> tuple[Points, Points]:
    """The edges of the upper and of the lower lid of one eye, from left to right."""
    t = arc(33)
    x = face.width * (side * face.eye_spacing + face.eye_width * t)
    y = face.eye_line - face.eye_tilt * side * t
    upper, lower = y - face.eye_opening * dome(t, 0.7), y + 0.6 * face.eye_opening * dome(t, 0.9)
    return turn(face, np.stack([x, upper], axis=1)), turn(face, np.stack([x, lower], axis=1))


def brow_outline(face: FaceParameters, side: int) -> Points:
    """The outline of one brow."""
    t = np.linspace(0, 1, 24)  # outwards
    x = side * face.width * (face.eye_spacing + face.eye_width * (2.35 * t - 1.05))
    y = _brow_line(face) - face.brow_arch * np.sin(np.pi * np.minimum(1.25 * t, 1.1)) - 0.6 * face.eye_tilt * t
    width = face.brow_thickness * np.interp(t, (0, 0.06, 0.35, 0.75, 1), (0.45, 0.85, 1.0, 0.7, 0.12))
    return turn(face, ribbon(np.stack([x, y], axis=1), width))


def nose_outline(face: FaceParameters) -> Points:
    """The outline of the nose, with its bridge and wings."""
    w, top, base = face.nose_width * face.width, face.eye_line - 0.05, nose_line(face)
    bridge = [(0, top - 0.01), (0.36 * w + 0.012, top + 0.02), (0.40 * w, top + 0.15), (0.56 * w, base - 0.18)]
    wing = [(0.94 * w, base - 0.11), (w, base - 0.05), (0.72 * w, base - 0.01), (0.3 * w, base + 0.01)]
    return turn_nose(face, mirrored([*bridge, *wing, (0, base + 0.02)]))


def nose_tip(face: FaceParameters) -> Points:
    """The tip of the nose, (x, y)."""
    return turn_nose(face, (0, nose_line(face) - 0.06))


def lip_edges(face: FaceParameters) -> tuple[Points, Points, Points, Points]:
    """Top and bottom of the upper lip, top and bottom of the lower lip: from corner to corner, left to right."""
    t = arc(49)
    x = face.mouth_width * face.width * t
    y = nose_line(face) + 0.36 * (1 - nose_line(face)) + face.smile * (0.4 - t**2)
    up, down = 0.3 * face.mouth_opening, 0.7 * face.mouth_opening
    bow = 1 - 0.28 * np.exp(-((t / 0.16) ** 2))
    gap = dome(t / 0.9, 0.75)
    offsets = (
        -(up + face.upper_lip * bow) * dome(t, 0.8),
        -up * gap,
        down * gap,
        (down + face.lower_lip) * dome(t, 0.7),
    )
    top, upper, lower, bottom = (turn(face, np.stack([x, y + offset], axis=1)) for offset in offsets)
    return top, upper, lower, bottom


def _is_long(face: FaceParameters) -> bool:
    """Whether the hair hangs below the ears."""
    return face.length > LONG_HAIR


def crown(face: FaceParameters) -> Points:
    """The outer edge of the hair over the head, from the left ear up and down to the right one."""
    height, middle = 0.88 + face.volume, -0.12
    end = np.arccos((middle - min(face.length, 0.0)) / height)
    angle = np.linspace(-end, end, 81)
    # Short hair thins out towards the ears; long hair goes on to fall from there.
    width = face.width + 0.8 * face.volume * (1.0 if _is_long(face) else dome(angle / end, 0.4))
    wave = 1 + face.curl * np.sin(13 * angle + 7 * face.parting) * dome(angle / end, 0.5)
    x = width * np.sign(angle) * np.abs(np.sin(angle)) ** 0.85
    y = middle - height * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.9
    return np.stack([x * wave, y * wave], axis=1)


def hairline_edge(face: FaceParameters) -> Points:
    """The edge of the hair over the forehead, from the left temple to the right one; it stays above the brows."""
    s = np.linspace(-1, 1, 81)
    lowest = _brow_line(face) - 0.7 * face.brow_arch - 0.5 * face.brow_thickness
    y = np.minimum(face.hairline + face.arch * np.abs(s - face.parting) ** face.sweep, lowest)
    notches = np.abs(np.sin(np.pi * (4.5 * s + 3 * face.parting)))
    return turn(face, np.stack([0.9 * face.width * s, y - face.fringe * notches], axis=1))


def _fall(face: FaceParameters, side: int, x: float, top: float, flare: float) -> Points:
    """An edge of long hair, from beside the head at (x, top) down to the ends."""
    t = np.linspace(0, 1, 33)
    y = top + (face.length - top) * t
    wave = 1.4 * face.curl * np.sin(9 * y + 3 * side) * t
    return np.stack([side * (x + flare * np.sin(0.8 * np.pi * t) + wave), y], axis=1)


def _ends(face: FaceParameters, start: Points, end: Points) -> Points:
    """The ragged lower edge of long hair between two points."""
    t = np.linspace(0, 1, 25)[:, None]
    sag = 0.10 * np.sqrt(t * (1 - t)) + (0.02 + 0.4 * face.fringe) * np.abs(np.sin(3 * np.pi * t))
    return start + (end - start) * t + sag * (0, 1)


def back_hair_outline(face: FaceParameters) -> Points:
    """Hair seen behind the head and, when long, the neck."""
    if not _is_long(face):
        return crown(face)
    left, right = (_fall(face, side, face.width + 0.8 * face.volume, 0.0, 0.09) for side in SIDES)
    return np.concatenate([crown(face), right, _ends(face, right[-1], left[-1]), left[::-1]])


def lock_outline(face: FaceParameters, side: int) -> Points:
    """Long hair in front of one ear."""
    outer = _fall(face, side, face.width + 0.8 * face.volume, 0.0, 0.09)
    temple = float(hairline_edge(face)[0 if side == LEFT else -1, 1])
    inner = turn(face, _fall(face, side, 0.9 * face.width, temple, -0.05))
    return np.concatenate([outer, _ends(face, outer[-1], inner[-1]), inner[::-1]])


def landmarks(face: FaceParameters) -> Points:
    """The five points of `DrawnFace`, in the face frame."""
    eyes = [centroid(between(*lids(face, side))) for side in SIDES]
    lip = lip_edges(face)[0]
    return np.stack([*eyes, nose_tip(face), lip[0], lip[-1]])
