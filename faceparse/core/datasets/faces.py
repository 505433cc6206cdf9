"""Procedural faces with exact labels: a drawing, its parsing map and its five landmarks from one random generator.

Every shape lives in the *face frame*: x to the image right, y down, the origin at the middle of the head, the crown of
the skull at y = -1 and the chin near y = +1. One similarity maps that frame to pixels (pixel centres at integer
coordinates), so the size of a picture changes its resolution and nothing else. Each shape is rasterised once, as the
fraction of every pixel it covers; that coverage blends the image and, where it reaches one half, sets the label, so
the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

CLASSES = (
    "background",
    "skin",
    "left_brow",
    "right_brow",
    "left_eye",
    "right_eye",
    "nose",
    "upper_lip",
    "inner_mouth",
    "lower_lip",
    "hair",
)
BACKGROUND, SKIN, LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE, NOSE, UPPER_LIP, INNER_MOUTH, LOWER_LIP, HAIR = range(11)
SIDES = ((-1, LEFT_BROW, LEFT_EYE), (1, RIGHT_BROW, RIGHT_EYE))  # sign of x in the face frame: left is the viewer's

SUPERSAMPLING = 4  # coverage is counted on this many sub-pixels a side
FIXED_POINT_BITS = 6  # sub-pixel precision handed to OpenCV's polygon fill

Points = npt.NDArray[np.float64]  # N x 2 (x, y)
Floats = npt.NDArray[np.float32]  # H x W masks and fields, H x W x 3 images, 3 colours (RGB, 0..255)
Labels = npt.NDArray[np.uint8]

WHITE = np.array((255, 255, 255), np.float32)
SKIN_TONES = np.array(
    [
        (252, 222, 202),
        (241, 200, 172),
        (226, 178, 142),
        (205, 152, 112),
        (178, 124, 86),
        (143, 95, 64),
        (108, 70, 49),
        (76, 50, 38),
    ],
    np.float32,
)
HAIR_COLOURS = np.array(
    [
        (30, 26, 26),
        (52, 36, 28),
        (88, 58, 38),
        (126, 86, 54),
        (196, 154, 92),
        (226, 198, 146),
        (140, 62, 32),
        (188, 98, 48),
        (146, 144, 142),
        (212, 210, 206),
    ],
    np.float32,
)
LIPSTICKS = np.array([(176, 36, 48), (206, 84, 108), (128, 40, 66), (214, 102, 84)], np.float32)
IRIS_COLOURS = np.array([(66, 42, 26), (104, 70, 38), (92, 112, 62), (84, 122, 158), (116, 132, 140)], np.float32)
CAVITY = np.array((62, 18, 20), np.float32)
TONGUE = np.array((186, 88, 88), np.float32)
TEETH = np.array((240, 234, 222), np.float32)
SCLERA = np.array((240, 236, 232), np.float32)
INK = np.array((24, 16, 14), np.float32)


@dataclass(frozen=True)
class DrawnFace:
    """A drawn face: image H x W x 3 uint8 RGB, label H x W uint8 (indices of CLASSES), points 5 x 2 (x, y) pixels.

    The points are the centres of the eyes at the image left and right, the tip of the nose, and the mouth corners at
    the image left and right.
    """

    image: npt.NDArray[np.uint8]
    label: Labels
    points: Points


@dataclass(frozen=True, eq=False)
class FaceParameters:
    """All that makes one picture, whatever its size. Lengths are in the face frame unless a comment says otherwise."""

    # pose
    centre: tuple[float, float]  # of the head, in fractions of the picture
    scale: float  # half the height of the head, in fractions of the picture
    roll: float  # radians, in the image plane
    yaw: float  # radians, about the vertical axis
    # head
    width: float  # half the width of the head
    jaw: float  # half widths in fractions of `width`
    chin: float
    stubble: float  # opacity
    blush: float  # opacity
    # hair: a hairline `hairline + arch * |s - parting| ** sweep`, s running from -1 to 1 between the temples
    hairline: float
    arch: float
    parting: float
    sweep: float
    fringe: float  # depth of the notches between strands
    volume: float
    curl: float
    length: float  # y where it ends
    locks: bool  # whether long hair falls in front of the ears
    # brows, eyes
    brow_gap: float
    brow_thickness: float
    brow_arch: float
    eye_line: float
    eye_spacing: float  # in fractions of `width`, as is `eye_width` (both from the middle)
    eye_width: float
    eye_opening: float
    eye_tilt: float
    iris_radius: float
    gaze: float
    # nose, mouth
    nose_length: float
    nose_width: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    smile: float
    mouth_opening: float  # zero when closed
    teeth: float  # fraction of the opening
    # colours, RGB 0..255
    skin: Floats
    hair: Floats
    brow: Floats
    iris: Floats
    lips: Floats
    clothes: Floats
    backdrop: tuple[Floats, Floats]
    # scene and camera
    neckline: float
    pattern: int  # of the backdrop: ramp, blobs, stripes or checks
    pattern_scale: float
    pattern_angle: float
    light: tuple[float, float]  # direction towards the light in the face frame, its length the strength
    gain: Floats  # RGB factors: exposure and white balance
    contrast: float
    blur: float  # in fractions of the picture
    noise: float  # standard deviation in grey levels
    texture_seed: int


def sample_parameters(rng: np.random.Generator) -> FaceParameters:
    """Draw one face at random."""
    u = rng.uniform

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    scale = u(0.28, 0.425)
    room = 0.55 * (0.5 - scale)
    skin = tint(sample_ramp(rng, SKIN_TONES), rng, 9)
    hair = sample_hair_colour(rng)
    lips = mix(skin * np.float32((0.86, 0.56, 0.56)), np.float32((178, 70, 72)), u(0.1, 0.35))
    if chance(0.3):
        lips = mix(lips, tint(rng.choice(LIPSTICKS), rng, 14), u(0.5, 0.9))
    eye_line, eye_opening = u(-0.02, 0.06), u(0.07, 0.125)
    brow_gap, brow_thickness, brow_arch = u(0.085, 0.15), u(0.055, 0.10), u(0.01, 0.07)
    brow_top = eye_line - eye_opening - brow_gap - brow_arch - brow_thickness
    style = rng.choice(["swept", "parted", "fringe", "high"], p=[0.28, 0.28, 0.26, 0.18])
    hairline = {"swept": u(-0.66, -0.56), "parted": u(-0.76, -0.64), "high": u(-0.82, -0.72)}.get(
        style, brow_top - u(0.04, 0.14)
    )
    long = chance(0.5)
    light_angle, light_strength = u(-np.pi, 0.0), u(0.2, 1.0)
    return FaceParameters(
        centre=(0.5 + room * u(-1, 1), 0.51 + room * u(-1, 1)),
        scale=scale,
        roll=float(np.clip(rng.normal(0, 0.16), -0.36, 0.36)),
        yaw=u(-0.24, 0.24),
        width=u(0.68, 0.81),
        jaw=u(0.72, 0.88),
        chin=u(0.30, 0.46),
        stubble=u(0.1, 0.4) if chance(0.2) else 0.0,
        blush=u(0.05, 0.35),
        hairline=hairline,
        arch={"swept": u(0.1, 0.25), "parted": u(0.25, 0.4), "high": u(0.1, 0.3)}.get(style, u(0.0, 0.08)),
        parting=u(-0.55, 0.55) if style == "parted" else u(-0.2, 0.2),
        sweep=u(0.8, 1.2) if style == "parted" else u(1.8, 3.0),
        fringe=u(0.02, 0.09) if style == "fringe" else u(0.0, 0.02),
        volume=u(0.05, 0.2) if long or chance(0.5) else u(0.02, 0.08),
        curl=u(0.015, 0.05) if chance(0.35) else 0.0,
        length=u(0.75, 1.7) if long else u(-0.15, 0.12),
        locks=long and chance(0.7),
        brow_gap=brow_gap,
        brow_thickness=brow_thickness,
        brow_arch=brow_arch,
        eye_line=eye_line,
        eye_spacing=u(0.45, 0.52),
        eye_width=u(0.22, 0.28),
        eye_opening=eye_opening,
        eye_tilt=u(-0.03, 0.05),
        iris_radius=u(0.075, 0.095),
        gaze=u(-0.05, 0.05),
        nose_length=u(0.36, 0.46),
        nose_width=u(0.19, 0.29),
        mouth_width=u(0.40, 0.55),
        upper_lip=u(0.06, 0.105),
        lower_lip=u(0.085, 0.135),
        smile=u(-0.03, 0.13),
        mouth_opening=u(0.07, 0.24) if chance(0.66) else 0.0,
        teeth=u(0.0, 0.7),
        skin=skin,
        hair=hair,
        brow=mix(np.minimum(hair, 150) * 0.62, skin * 0.35, 0.35),
        iris=tint(rng.choice(IRIS_COLOURS), rng, 12),
        lips=lips,
        clothes=sample_colour(rng, skin, hair),
        backdrop=(sample_colour(rng, skin, hair), sample_colour(rng, skin, hair)),
        neckline=u(1.3, 1.6),
        pattern=int(rng.integers(4)),
        pattern_scale=u(2.0, 9.0),
        pattern_angle=u(0, np.pi),
        light=(light_strength * np.cos(light_angle), light_strength * np.sin(light_angle)),
        gain=np.float32(u(0.82, 1.14) * u(0.93, 1.07, 3)),
        contrast=u(0.8, 1.12),
        blur=u(0.0, 0.006),
        noise=u(1.0, 7.0),
        texture_seed=int(rng.integers(2**32)),
    )


def draw_face(rng: np.random.Generator, size: int) -> DrawnFace:
    """Draw one random face as a size x size picture, its label map and its points.

    The result depends on the state of `rng` and on `size` alone; from equal states, two sizes show the same face.
    """
    face = sample_parameters(rng)
    canvas = Canvas(face, size)
    paint_body(canvas, face)
    paint_head(canvas, face)
    for side, brow_id, eye_id in SIDES:
        paint_eye(canvas, face, side, eye_id)
        paint_brow(canvas, face, side, brow_id)
    paint_nose(canvas, face)
    paint_mouth(canvas, face)
    paint_front_hair(canvas, face)
    return DrawnFace(photograph(canvas, face, rng), canvas.label, canvas.to_pixels(landmarks(face)))


# ---------------------------------------------------------------------------------------------------------- colours


def mix(a: npt.ArrayLike, b: npt.ArrayLike, amount: float) -> Floats:
    """The colour `amount` of the way from a to b."""
    return np.float32(1 - amount) * np.asarray(a, np.float32) + np.float32(amount) * np.asarray(b, np.float32)


def tint(colour: Floats, rng: np.random.Generator, spread: float) -> Floats:
    """The colour moved at random, by `spread` grey levels a channel."""
    return np.clip(colour + rng.normal(0, spread, 3), 0, 255).astype(np.float32)


def sample_ramp(rng: np.random.Generator, colours: Floats) -> Floats:
    """A colour anywhere along the polyline through `colours`."""
    where = rng.uniform(0, len(colours) - 1)
    index = int(where)
    return mix(colours[index], colours[index + 1], where - index)


def sample_hair_colour(rng: np.random.Generator) -> Floats:
    """Mostly natural, now and then dyed."""
    if rng.random() < 0.07:
        return rng.uniform(40, 220, 3).astype(np.float32)
    return tint(rng.choice(HAIR_COLOURS), rng, 8)


def sample_colour(rng: np.random.Generator, skin: Floats, hair: Floats) -> Floats:
    """Any colour, but often close to the skin or the hair: colour alone must not tell the classes apart."""
    kind = rng.random()
    if kind < 0.2:
        return tint(skin, rng, 16)
    if kind < 0.4:
        return tint(hair, rng, 16)
    return mix(np.full(3, rng.uniform(20, 240)), rng.uniform(20, 240, 3), rng.uniform(0.2, 1.0))


# ----------------------------------------------------------------------------------------------- shapes, face frame


def spline(knots: npt.ArrayLike, *, closed: bool = True, steps: int = 10) -> Points:
    """The Catmull-Rom curve through the knots (N x 2), `steps` points a span."""
    inner = np.asarray(knots, np.float64)
    before, after = (inner[-1:], inner[:2]) if closed else (2 * inner[:1] - inner[1:2], 2 * inner[-1:] - inner[-2:-1])
    p = np.concatenate([before, inner, after])
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.reshape(-1, 2) if closed else np.concatenate([curve.reshape(-1, 2), inner[-1:]])


def mirrored(half: Sequence[tuple[float, float]]) -> Points:
    """Closed knots from a right half that starts and ends on the axis x = 0."""
    right = np.asarray(half, np.float64)
    return np.concatenate([right, right[-2:0:-1] * (-1, 1)])


def ellipse(centre: tuple[float, float], radii: tuple[float, float], steps: int = 40) -> Points:
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def ribbon(line: Points, width: npt.ArrayLike) -> Points:
    """The outline of a stroke along `line` (N x 2) of the given full width at each point."""
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = 0.5 * np.broadcast_to(width, len(line))[:, None] * normal
    return np.concatenate([line - offset, (line + offset)[::-1]])


def turn(face: FaceParameters, points: Points, reach: npt.ArrayLike = 0.0) -> Points:
    """Yaw: points on a cylinder as wide as the head, `reach` in front of it, seen after the head has turned."""
    x, y = points.T
    depth = np.sqrt(np.maximum(face.width**2 - x**2, 0)) + reach
    return np.stack([x * np.cos(face.yaw) + depth * np.sin(face.yaw), y], axis=1)


def arc(steps: int = 33) -> npt.NDArray[np.float64]:
    """Parameters from -1 to 1, dense at the ends, where the lids and lips bend most."""
    return -np.cos(np.linspace(0, np.pi, steps))


def bulge(t: npt.NDArray[np.float64], power: float) -> npt.NDArray[np.float64]:
    """A dome over t in [-1, 1]: 1 in the middle, 0 at the ends; the lower the power, the blunter the ends."""
    return np.maximum(1 - t**2, 0.0) ** power


def chin_y(face: FaceParameters) -> float:
    """An open mouth lowers the jaw."""
    return 1.0 + 0.45 * face.mouth_opening


def head_outline(face: FaceParameters) -> Points:
    w, chin = face.width, chin_y(face)
    half = [
        (0.0, -1.0),
        (0.60 * w, -0.87),
        (0.93 * w, -0.50),
        (w, -0.08),
        (0.96 * w, 0.30),
        (face.jaw * w, 0.64),
        (face.chin * w, chin - 0.09),
        (0.0, chin),
    ]
    outline = spline(mirrored(half))
    outline[:, 0] += 0.16 * np.sin(face.yaw) * np.clip(outline[:, 1], 0, None) ** 2  # the chin stands out in front
    return outline


def ear_outline(face: FaceParameters, side: int) -> Points:
    return ellipse((side * (face.width + 0.01) - 0.35 * np.sin(face.yaw), face.eye_line + 0.14), (0.10, 0.2))


def lids(face: FaceParameters, side: int) -> tuple[Points, Points]:
    """The edges of the upper and the lower lid, from the image left to the image right."""
    t = arc()
    x = face.width * (side * face.eye_spacing + face.eye_width * t)
    y = face.eye_line - face.eye_tilt * side * t
    upper = np.stack([x, y - face.eye_opening * bulge(t, 0.7)], axis=1)
    lower = np.stack([x, y + 0.6 * face.eye_opening * bulge(t, 0.9)], axis=1)
    return turn(face, upper), turn(face, lower)


def eye_outline(face: FaceParameters, side: int) -> Points:
    upper, lower = lids(face, side)
    return np.concatenate([upper, lower[::-1]])


def brow_outline(face: FaceParameters, side: int) -> Points:
    t = np.linspace(0, 1, 24)  # from the nose outwards
    x = side * face.width * (face.eye_spacing + face.eye_width * (-1.05 + 2.35 * t))
    y = face.eye_line - face.eye_opening - face.brow_gap - face.brow_arch * np.sin(np.pi * np.minimum(1.25 * t, 1.1))
    y = y - 0.6 * face.eye_tilt * t
    width = face.brow_thickness * np.interp(t, [0, 0.06, 0.35, 0.75, 1], [0.45, 0.85, 1.0, 0.7, 0.12])
    return turn(face, ribbon(np.stack([x, y], axis=1), width))


def nose_outline(face: FaceParameters) -> Points:
    w, top, length = face.nose_width * face.width, face.eye_line - 0.05, face.nose_length + 0.05
    half = [
        (0.0, top - 0.01),
        (0.36 * w + 0.012, top + 0.02),
        (0.38 * w, top + 0.3 * length),
        (0.55 * w, top + 0.62 * length),
        (0.95 * w, top + 0.78 * length),
        (1.0 * w, top + 0.9 * length),
        (0.72 * w, top + 0.98 * length),
        (0.3 * w, top + 1.02 * length),
        (0.0, top + 1.05 * length),
    ]
    return on_nose(face, spline(mirrored(half)))


def on_nose(face: FaceParameters, points: Points) -> Points:
    """Yaw for the nose, which stands out the further the lower it gets."""
    return turn(face, points, reach=0.3 * np.clip((points[:, 1] - face.eye_line) / face.nose_length, 0, 1))


def nose_tip(face: FaceParameters) -> Points:
    return on_nose(face, np.array([(0.0, face.eye_line + 0.86 * face.nose_length)]))[0]


@dataclass(frozen=True)
class MouthCurves:
    """The four edges of the lips from the corner at the image left to the one at the image right, each N x 2."""

    top: Points
    inner_top: Points
    inner_bottom: Points
    bottom: Points


def mouth_curves(face: FaceParameters) -> MouthCurves:
    t = arc(49)
    nose_base = face.eye_line + face.nose_length
    line = nose_base + 0.36 * (1 - nose_base) + face.smile * (0.4 - t**2)
    inner = face.mouth_opening * bulge(t / 0.9, 0.75)
    bow = 1 - 0.28 * np.exp(-((t / 0.16) ** 2))

    def edge(y: npt.NDArray[np.float64]) -> Points:
        return turn(face, np.stack([face.mouth_width * face.width * t, y], axis=1))

    return MouthCurves(
        top=edge(line - 0.3 * face.mouth_opening * bulge(t, 0.8) - face.upper_lip * bow * bulge(t, 0.8)),
        inner_top=edge(line - 0.3 * inner),
        inner_bottom=edge(line + 0.7 * inner),
        bottom=edge(line + (0.7 * face.mouth_opening + face.lower_lip) * bulge(t, 0.7)),
    )


def crown(face: FaceParameters) -> Points:
    """The outer edge of the hair over the top of the head, from the image left ear to the image right one."""
    angle = np.linspace(-1.0, 1.0, 61) * 0.55 * np.pi
    radius = 1 + face.curl * np.sin(13 * angle + 7 * face.parting) * (1 - np.abs(angle) / 2.2)
    x = (face.width + 0.8 * face.volume) * np.sign(angle) * np.abs(np.sin(angle)) ** 0.85
    y = -0.12 - (0.88 + face.volume) * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.9
    return np.stack([x * radius, y * radius], axis=1)


def strand(face: FaceParameters, side: int, x: float, top: float, flare: float) -> Points:
    """A wavy line that falls from (x, top) beside the head to where the hair ends."""
    t = np.linspace(0, 1, 25)
    y = top + (face.length - top) * t
    wave = 1.4 * face.curl * np.sin(9 * y + 3 * side) * t
    return np.stack([side * (x + flare * np.sin(0.75 * np.pi * t) + wave), y], axis=1)


def hairline_edge(face: FaceParameters) -> Points:
    """The edge of the hair over the forehead, from the image right temple to the image left one."""
    s = np.linspace(1, -1, 81)
    notches = face.fringe * np.abs(np.sin(np.pi * (4.5 * s + 3 * face.parting)))
    y = face.hairline + face.arch * np.abs(s - face.parting) ** face.sweep - notches
    return turn(face, np.stack([0.9 * face.width * s, np.minimum(y, brow_line(face))], axis=1))


def brow_line(face: FaceParameters) -> float:
    """The y that hair on the forehead does not fall below."""
    return face.eye_line - face.eye_opening - face.brow_gap - 0.7 * face.brow_arch - 0.5 * face.brow_thickness


def cap_outline(face: FaceParameters) -> Points:
    """Hair over the top of the head, down to the ears."""
    return np.concatenate([crown(face), hairline_edge(face)])


def back_hair_outline(face: FaceParameters) -> Points:
    """Long hair behind the neck."""
    falls = [strand(face, side, face.width + 0.8 * face.volume, -0.1, 0.08) for side in (1, -1)]
    return np.concatenate([crown(face), falls[0], falls[1][::-1]])


def lock_outline(face: FaceParameters, side: int) -> Points:
    """Long hair in front of one ear."""
    outer = strand(face, side, face.width + 0.8 * face.volume, -0.1, 0.08)
    inner = strand(face, side, 0.9 * face.width, -0.45, 0.0)
    return np.concatenate([outer, turn(face, inner)[::-1]])


def landmarks(face: FaceParameters) -> Points:
    """The five points of `DrawnFace`, in the face frame."""
    mouth = mouth_curves(face)
    return np.stack(
        [
            centroid(eye_outline(face, -1)),
            centroid(eye_outline(face, 1)),
            nose_tip(face),
            mouth.top[0],
            mouth.top[-1],
        ]
    )


def centroid(outline: Points) -> Points:
    """The centre of area of a polygon, shape (2,)."""
    following = np.roll(outline, -1, axis=0)
    cross = outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]
    return np.asarray(((outline + following) * cross[:, None]).sum(axis=0) / (3 * cross.sum()))


# ------------------------------------------------------------------------------------------------------------ canvas


class Canvas:
    """A picture and its label map, painted together with shapes given in the face frame."""

    def __init__(self, face: FaceParameters, size: int) -> None:
        cos, sin = np.cos(face.roll), np.sin(face.roll)
        self.unit = face.scale * size  # pixels
        self.rotation = np.array([[cos, -sin], [sin, cos]])
        self.origin = np.array(face.centre) * size - 0.5
        self.label: Labels = np.full((size, size), BACKGROUND, np.uint8)
        x, y = np.meshgrid(*(np.arange(size) - self.origin[:, None]) / self.unit)
        self.x = (cos * x + sin * y).astype(np.float32)  # of every pixel, in the face frame
        self.y = (cos * y - sin * x).astype(np.float32)
        self.image: Floats = backdrop(face, size)

    def to_pixels(self, points: Points) -> Points:
        """Face frame to pixels, N x 2."""
        return np.asarray(self.unit * points @ self.rotation.T + self.origin)

    def window(self, outline: Points) -> tuple[slice, slice]:
        """The rows and columns that an outline touches."""
        corners = self.to_pixels(outline)
        low = np.clip(np.floor(corners.min(axis=0)), 0, len(self.label)).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, low, len(self.label)).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def cover(self, outline: Points) -> tuple[tuple[slice, slice], Floats]:
        """The window of an outline, and the fraction of each of its pixels that the outline encloses."""
        rows, columns = window = self.window(outline)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not height * width:
            return window, np.zeros((height, width), np.float32)
        fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        corners = (self.to_pixels(outline) - (columns.start, rows.start) + 0.5) * SUPERSAMPLING - 0.5
        cv2.fillPoly(fine, [np.rint(corners * 2**FIXED_POINT_BITS).astype(np.int32)], 255, shift=FIXED_POINT_BITS)
        coverage = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return window, coverage.astype(np.float32) / 255

    def stencil(self, outline: Points) -> Floats:
        """An outline's coverage of the whole picture, H x W, to paint within."""
        mask = np.zeros(self.label.shape, np.float32)
        window, coverage = self.cover(outline)
        mask[window] = coverage
        return mask

    def fill(
        self,
        outline: Points,
        ink: Floats,
        label: int | None = None,
        *,
        opacity: float = 1.0,
        within: Floats | None = None,
    ) -> None:
        """Paint a polygon with a colour or from an H x W x 3 image, and give its pixels a label if there is one."""
        window, coverage = self.cover(outline)
        if within is not None:
            coverage *= within[window]
        if label is not None:
            self.label[window][coverage >= 0.5] = label
        self._blend(window, ink if ink.ndim == 1 else ink[window], coverage * np.float32(opacity))

    def glow(
        self,
        centre: npt.ArrayLike,
        radii: tuple[float, float],
        ink: Floats,
        opacity: float,
        *,
        within: Floats | None = None,
    ) -> None:
        """Paint a soft ellipse that fades out at its radii; the labels stay."""
        x, y = np.asarray(centre, np.float64).reshape(2)
        window = self.window(ellipse((x, y), radii, steps=16))
        distance = ((self.x[window] - x) / radii[0]) ** 2 + ((self.y[window] - y) / radii[1]) ** 2
        alpha = np.float32(opacity) * np.maximum(1 - distance, 0) ** 2
        self._blend(window, ink, alpha if within is None else alpha * within[window])

    def _blend(self, window: tuple[slice, slice], ink: Floats, alpha: Floats) -> None:
        patch = self.image[window]
        patch += alpha[..., None] * (ink - patch)


def grain(rng: np.random.Generator, cells: int, size: int) -> Floats:
    """Smooth noise in 0..1 over the picture, from cells x cells random values whatever the size."""
    coarse = rng.random((cells, cells), np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def backdrop(face: FaceParameters, size: int) -> Floats:
    """The scene behind the head: two colours mixed by a ramp, blobs, stripes or checks, and mottled."""
    rng = np.random.default_rng(face.texture_seed)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    cos, sin = np.float32(np.cos(face.pattern_angle)), np.float32(np.sin(face.pattern_angle))
    along, across = 2 * np.pi * face.pattern_scale * np.stack([cos * x + sin * y, cos * y - sin * x])
    pattern = (
        lambda: cos * x + sin * y + 0.5,
        lambda: grain(rng, 2 + int(face.pattern_scale), size),
        lambda: 0.5 + 0.5 * np.tanh(3 * np.sin(along)),
        lambda: 0.5 + 0.5 * np.tanh(4 * np.sin(along) * np.sin(across)),
    )[face.pattern]()
    near, far = face.backdrop
    mottle = 1 + 0.16 * (grain(rng, 7, size) - 0.5) + 0.12 * (grain(rng, 40, size) - 0.5)
    return np.asarray((near + pattern[..., None] * (far - near)) * mottle[..., None], np.float32)


# ----------------------------------------------------------------------------------------------------------- painting


def hair_ink(canvas: Canvas, face: FaceParameters) -> Floats:
    """Strands that run from the parting outwards, H x W x 3."""
    rng = np.random.default_rng(face.texture_seed + 1)
    strands = 0.6 * rng.random((12, 256)) + 0.4 * np.repeat(rng.random((12, 64)), 4, axis=1)
    x = canvas.x - np.float32(0.7 * face.parting * face.width)
    y = canvas.y + np.float32(0.9 + 0.3 * face.volume)
    radius, angle = cv2.cartToPolar(x, y)
    angle += np.float32(2 * face.curl) * np.sin(14 * radius)
    texture = cv2.remap(
        strands.astype(np.float32),
        angle * np.float32(256 / (2 * np.pi)),
        radius * np.float32(3.5),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    shine = 0.35 * np.exp(-(((radius - 0.45) / 0.16) ** 2))
    value = 0.62 + 0.55 * texture + shine * texture
    return np.asarray(value[..., None] * (face.hair + 6), np.float32)


def paint_body(canvas: Canvas, face: FaceParameters) -> None:
    """Long hair, then neck and clothes in front of it: both are background, as in Helen."""
    ink = hair_ink(canvas, face)
    if face.length > 0.5:
        canvas.fill(back_hair_outline(face), ink * np.float32(0.72), HAIR)
    w, chin = face.width, chin_y(face)
    neck = spline(mirrored([(0, 0.5), (0.56 * w, 0.5), (0.6 * w, 1.1), (0.85 * w, 1.36), (2.2 * w, 1.65), (2, 4), (0, 4)]))
    canvas.fill(neck, face.skin * np.float32(0.84), BACKGROUND)
    canvas.glow((0, chin), (0.75 * w, 0.42), shade(face), 0.75, within=canvas.stencil(neck))
    shoulders = [(0.0, face.neckline), (0.62 * w, 1.3), (1.1 * w, 1.42), (2.3 * w, 1.62), (3.0 * w, 4.0), (0.0, 4.0)]
    canvas.fill(spline(mirrored(shoulders)), face.clothes, BACKGROUND)


def shade(face: FaceParameters) -> Floats:
    """Skin in shadow: darker, and redder."""
    return face.skin * np.float32((0.56, 0.48, 0.46))


def shine(face: FaceParameters) -> Floats:
    """Skin in full light."""
    return mix(face.skin * np.float32(1.08), WHITE, 0.3)


def paint_head(canvas: Canvas, face: FaceParameters) -> None:
    for side, *_ in SIDES:
        ear = ear_outline(face, side)
        canvas.fill(ear, face.skin * np.float32(0.93), SKIN)
        canvas.glow(ear.mean(axis=0), (0.075, 0.15), shade(face), 0.7)
    outline = head_outline(face)
    canvas.fill(outline, face.skin * np.float32(0.88), SKIN)
    skin = canvas.stencil(outline)
    w, (light_x, light_y) = face.width, face.light
    canvas.glow((0.35 * light_x * w, -0.1 + 0.3 * light_y), (1.25 * w, 1.35), shine(face), 0.5, within=skin)
    canvas.glow((-1.1 * light_x * w, 0.2 - 0.3 * light_y), (0.9 * w, 1.3), shade(face), 0.5, within=skin)
    for side, *_ in SIDES:
        blush = face.skin * np.float32((1.02, 0.72, 0.70))
        canvas.glow(turn(face, np.array([(0.56 * side * w, 0.34)])), (0.34, 0.28), blush, face.blush, within=skin)
        canvas.glow(centroid(eye_outline(face, side)), (0.36 * w, 0.24), shade(face), 0.45, within=skin)
    if face.stubble:
        canvas.glow((0, 0.85), (1.1 * w, 0.62), mix(face.hair, shade(face), 0.5), face.stubble, within=skin)


def paint_eye(canvas: Canvas, face: FaceParameters, side: int, label: int) -> None:
    upper, lower = lids(face, side)
    outline = eye_outline(face, side)
    canvas.fill(outline, SCLERA, label)
    within = canvas.stencil(outline)
    x, y = side * face.eye_spacing * face.width + face.gaze, face.eye_line - 0.25 * face.eye_opening
    r = face.iris_radius
    for radius, ink in ((r, face.iris * np.float32(0.55)), (0.84 * r, face.iris), (0.42 * r, INK)):
        canvas.fill(turn(face, ellipse((x, y), (radius, radius))), ink, within=within)
    canvas.fill(turn(face, ellipse((x - 0.3 * r, y - 0.35 * r), (0.2 * r, 0.2 * r))), WHITE, within=within)
    canvas.fill(ribbon(upper + (0, 0.012), 0.05), INK, opacity=0.35, within=within)  # the lid's shadow on the ball
    taper = bulge(arc(), 0.4)
    canvas.fill(ribbon(upper, 0.012 + 0.022 * taper), INK, opacity=0.9)
    canvas.fill(ribbon(lower, 0.012 * taper), shade(face), opacity=0.8)
    canvas.fill(ribbon(upper - (0, 0.045), 0.016 * taper), shade(face), opacity=0.6)


def paint_brow(canvas: Canvas, face: FaceParameters, side: int, label: int) -> None:
    canvas.fill(brow_outline(face, side), face.brow, label, opacity=0.9)


def paint_nose(canvas: Canvas, face: FaceParameters) -> None:
    outline = nose_outline(face)
    canvas.fill(outline, shade(face), NOSE, opacity=0.13)
    nose = canvas.stencil(outline)
    w, base = face.nose_width * face.width, face.eye_line + face.nose_length
    tip = nose_tip(face)
    canvas.glow((tip[0], base + 0.07), (1.2 * w, 0.09), shade(face), 0.5, within=1 - nose)
    side = -1.0 if face.light[0] > 0 else 1.0  # away from the light
    flank = on_nose(face, np.array([(side * 0.62 * w, face.eye_line + 0.5 * face.nose_length)]))
    canvas.glow(flank, (0.5 * w, 0.75 * face.nose_length), shade(face), 0.75, within=nose)
    bridge = np.stack([np.zeros(9), np.linspace(face.eye_line, tip[1], 9)], axis=1)
    canvas.fill(ribbon(on_nose(face, bridge), np.linspace(0.04, 0.07, 9)), shine(face), opacity=0.35, within=nose)
    canvas.glow(tip, (0.55 * w, 0.10), shine(face), 0.8, within=nose)
    for nostril in (-1, 1):
        hole = ellipse((nostril * 0.42 * w, base - 0.012), (0.24 * w, 0.022))
        canvas.fill(on_nose(face, hole), mix(shade(face) * np.float32(0.4), INK, 0.3), opacity=0.9, within=nose)
        wing = spline([(0.62 * w, base - 0.15), (0.95 * w, base - 0.11), (w, base - 0.04), (0.74 * w, base)], closed=False)
        taper = 0.022 * np.sin(np.linspace(0.2, np.pi - 0.2, len(wing)))
        canvas.fill(ribbon(on_nose(face, wing * (nostril, 1)), taper), shade(face), opacity=0.75)


def paint_mouth(canvas: Canvas, face: FaceParameters) -> None:
    mouth = mouth_curves(face)
    middle = mouth.bottom[len(mouth.bottom) // 2]
    canvas.glow(middle + (0, 0.05), (0.28, 0.08), shade(face), 0.5)
    # Whole, then upper, then inner: each covers the seam of the one before it, so no skin shows between the lips.
    canvas.fill(np.concatenate([mouth.top, mouth.bottom[::-1]]), face.lips, LOWER_LIP)
    canvas.fill(np.concatenate([mouth.top, mouth.inner_bottom[::-1]]), face.lips * np.float32(0.78), UPPER_LIP)
    lower = canvas.stencil(np.concatenate([mouth.inner_bottom, mouth.bottom[::-1]]))
    canvas.glow(middle - (0, 0.55 * face.lower_lip), (0.2, 0.05), mix(face.lips, WHITE, 0.6), 0.6, within=lower)
    if face.mouth_opening:
        inner = np.concatenate([mouth.inner_top, mouth.inner_bottom[::-1]])
        canvas.fill(inner, CAVITY, INNER_MOUTH)
        within = canvas.stencil(inner)
        canvas.glow(mouth.inner_bottom[24] + (0, 0.03), (0.24, 0.13), TONGUE, 0.9, within=within)
        bite = mouth.inner_top + (0, face.teeth * face.mouth_opening)
        canvas.fill(np.concatenate([mouth.inner_top - (0, 0.05), bite[::-1]]), TEETH, within=within)
    else:
        canvas.fill(ribbon(mouth.inner_top, 0.02 * bulge(arc(49), 0.3)), CAVITY, opacity=0.85)


def paint_front_hair(canvas: Canvas, face: FaceParameters) -> None:
    ink = hair_ink(canvas, face)
    canvas.fill(cap_outline(face), ink, HAIR)
    if face.locks:
        for side, *_ in SIDES:
            canvas.fill(lock_outline(face, side), ink, HAIR)


def photograph(canvas: Canvas, face: FaceParameters, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What a camera makes of the scene: uneven light, blur, contrast, exposure and noise; uint8 RGB."""
    light_x, light_y = face.light
    image = canvas.image * (1 + np.float32(0.14) * np.tanh(canvas.x * light_x + canvas.y * light_y))[..., None]
    sigma = face.blur * len(image)
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = (image - 128) * np.float32(face.contrast) * face.gain + 128 * face.gain
    image += np.float32(face.noise) * rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
