"""Procedural faces with exact labels: a picture, its label map and its five points from one random generator.

Every shape lives in the *face frame*: x to the image right, y down, the origin in the middle of the head, the crown of
the skull at y = -1 and the chin near y = +1. One similarity maps that frame to pixels (centres at integer coordinates),
so the size of a picture changes its resolution and nothing else. A shape is rasterised once, as the fraction of each
pixel that it covers: that coverage blends the image and, where it reaches one half, sets the label, so that the two
cannot disagree.
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
LEFT, RIGHT = SIDES = (-1, 1)  # the sign of x, so the viewer's left and right

LONG_HAIR = 0.5  # hair whose ends hang lower than this y is long
SUPERSAMPLING = 4  # a pixel's coverage is counted on this many sub-pixels a side
FIXED_POINT_BITS = 6  # precision of the vertices handed to OpenCV

Points = npt.NDArray[np.float64]  # N x 2, (x, y)
Scalars = npt.NDArray[np.float64]  # N
Floats = npt.NDArray[np.float32]  # a colour (3), RGB 0..255; an image H x W x 3 of them; a mask H x W, 0..1
Window = tuple[slice, slice]  # rows, columns


def palette(codes: str) -> Floats:
    """Colours N x 3 from their hexadecimal codes."""
    return np.array([list(bytes.fromhex(code)) for code in codes.split()], np.float32)


SKIN_TONES = palette("fddfca f2c9ac e3b38e cd9870 b27c56 8f5f40 6c4631 4f3427")  # neighbours mix into a tone between
HAIR_COLOURS = palette("1c1818 2c201a 4a3020 3a2a22 7e5636 a8794a c49a5c e2c692 8c3e20 bc6230 92908e d4d2ce")
DARK_HAIR_COLOURS = HAIR_COLOURS[:4]
LIPSTICKS = palette("b02430 ce546c 80283f d66654")
IRIS_COLOURS = palette("422a1a 684626 5c703e 547a9e 74848c")
WHITE, INK, SCLERA, TEETH, TONGUE, CAVITY = palette("ffffff 18100e eee8e4 f0eade b05454 34100f")
SHADE = np.array((0.56, 0.48, 0.46), np.float32)  # factors of the skin's RGB: shadows on it are redder, too
ROUGE = np.array((1.02, 0.72, 0.70), np.float32)

# Each hairline as ranges of the fields hairline, arch, parting, sweep and fringe of FaceParameters.
HAIRLINES = (
    ((-0.68, -0.56), (0.10, 0.25), (-0.2, 0.2), (1.8, 3.0), (0.0, 0.02)),  # swept back
    ((-0.84, -0.74), (0.15, 0.35), (-0.1, 0.1), (1.6, 2.6), (0.0, 0.01)),  # a high forehead
    ((-0.80, -0.66), (0.30, 0.45), (-0.6, 0.6), (0.8, 1.2), (0.0, 0.02)),  # parted
    ((-0.46, -0.34), (0.00, 0.08), (-0.5, 0.5), (1.8, 3.0), (0.02, 0.09)),  # a fringe
)


@dataclass(frozen=True)
class DrawnFace:
    """A drawn face.

    The points are the centre of the eye at the image left, of the eye at the image right, the tip of the nose, and the
    mouth corners at the image left and right.
    """

    image: npt.NDArray[np.uint8]  # H x W x 3, RGB
    label: npt.NDArray[np.uint8]  # H x W, indices of CLASSES
    points: Points  # 5 x 2, pixels


@dataclass(frozen=True, eq=False)
class FaceParameters:
    """All that makes one picture except its size and its noise; lengths in the face frame unless said otherwise."""

    centre: tuple[float, float]  # of the head, in fractions of the picture
    scale: float  # half the height of the head, in fractions of the picture
    roll: float  # radians, in the image plane
    yaw: float  # radians, about the vertical axis
    width: float  # half the width of the head
    jaw: float  # half widths in fractions of `width`
    chin: float
    skin: Floats
    blush: float  # opacity
    stubble: float  # opacity
    # The hairline is y = hairline + arch * |s - parting| ** sweep - fringe * notches, s from temple to temple -1 to 1.
    hairline: float
    arch: float
    parting: float
    sweep: float
    fringe: float
    volume: float  # thickness over the skull
    curl: float  # amplitude of the waves
    length: float  # the y at which it ends
    locks: bool  # whether it also falls in front of the ears
    bun: float  # radius
    whorl: float  # the y from which the strands spread
    hair: Floats
    brow_gap: float  # above the eye
    brow_thickness: float
    brow_arch: float
    brow: Floats
    eye_line: float  # the y of the eyes
    eye_spacing: float  # from the middle to an eye, in fractions of `width`
    eye_width: float  # half of it, in fractions of `width`
    eye_opening: float  # from the line to the upper lid
    eye_tilt: float
    iris_radius: float
    gaze: float
    iris: Floats
    nose_length: float
    nose_width: float  # half of it, in fractions of `width`
    mouth_width: float  # half of it, in fractions of `width`
    upper_lip: float
    lower_lip: float
    smile: float
    mouth_opening: float  # zero when closed
    teeth: float  # in fractions of the opening
    lips: Floats
    neckline: float
    clothes: Floats
    pattern: str  # of the backdrop: ramp, blobs, stripes or checks
    pattern_scale: float
    pattern_angle: float
    backdrop: tuple[Floats, Floats]
    light: tuple[float, float]  # towards the light, the longer the stronger
    gain: Floats  # exposure and white balance, factors of RGB
    contrast: float
    blur: float  # standard deviation, in fractions of the picture
    noise: float  # standard deviation, in grey levels
    texture_seed: int


def sample_parameters(rng: np.random.Generator) -> FaceParameters:
    """Draw one face at random; the number of draws does not depend on a picture's size."""
    u = rng.uniform

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    scale = u(0.28, 0.425)
    room = 0.55 * (0.5 - scale)
    skin = sample_skin(rng)
    hair = sample_hair_colour(rng, skin)
    hairline, arch, parting, sweep, fringe = (u(*limits) for limits in rng.choice(HAIRLINES, p=(0.27, 0.2, 0.28, 0.25)))
    long, full = chance(0.5), chance(0.5)
    light_angle, light_strength = u(-np.pi, 0.0), u(0.2, 1.0)
    backdrop = sample_colour(rng, skin, hair)
    return FaceParameters(
        centre=(0.5 + room * u(-1, 1), 0.52 + room * u(-1, 1)),
        scale=scale,
        roll=float(np.clip(rng.normal(0, 0.16), -0.36, 0.36)),
        yaw=u(-0.24, 0.24),
        width=u(0.68, 0.80),
        jaw=u(0.72, 0.87),
        chin=u(0.30, 0.46),
        skin=skin,
        blush=u(0.05, 0.35),
        stubble=u(0.1, 0.4) if chance(0.2) else 0.0,
        hairline=hairline,
        arch=arch,
        parting=parting,
        sweep=sweep,
        fringe=fringe,
        volume=u(0.1, 0.26) if full else u(0.05, 0.12),
        curl=u(0.015, 0.05) if chance(0.4) else 0.0,
        length=u(0.7, 1.7) if long else u(-0.25, 0.1),
        locks=long and chance(0.65),
        bun=u(0.16, 0.3) if chance(0.1) else 0.0,
        whorl=u(-1.8, -1.1),
        hair=hair,
        brow_gap=u(0.085, 0.15),
        brow_thickness=u(0.055, 0.10),
        brow_arch=u(0.01, 0.07),
        brow=mix(0.62 * np.minimum(hair, 150), 0.35 * skin, 0.35),
        eye_line=u(-0.02, 0.06),
        eye_spacing=u(0.45, 0.52),
        eye_width=u(0.22, 0.28),
        eye_opening=u(0.07, 0.125),
        eye_tilt=u(-0.03, 0.05),
        iris_radius=u(0.075, 0.095),
        gaze=u(-0.05, 0.05),
        iris=tint(rng, rng.choice(IRIS_COLOURS), 12),
        nose_length=u(0.36, 0.46),
        nose_width=u(0.20, 0.30),
        mouth_width=u(0.40, 0.55),
        upper_lip=u(0.06, 0.105),
        lower_lip=u(0.085, 0.135),
        smile=u(-0.03, 0.13),
        mouth_opening=u(0.07, 0.24) if chance(0.66) else 0.0,
        teeth=u(0.15, 0.7) if chance(0.85) else 0.0,
        lips=sample_lips(rng, skin),
        neckline=u(1.3, 1.6),
        clothes=sample_colour(rng, skin, hair),
        pattern=str(rng.choice(("ramp", "blobs", "stripes", "checks"), p=(0.3, 0.36, 0.2, 0.14))),
        pattern_scale=u(2.0, 8.0),
        pattern_angle=u(0, np.pi),
        backdrop=(backdrop, mix(backdrop, sample_colour(rng, skin, hair), u(0.25, 1.0))),
        light=(light_strength * np.cos(light_angle), light_strength * np.sin(light_angle)),
        gain=np.asarray(u(0.88, 1.18) * u(0.95, 1.05, 3), np.float32),
        contrast=u(0.9, 1.15),
        blur=u(0.0, 0.005),
        noise=u(1.0, 6.0),
        texture_seed=int(rng.integers(2**32)),
    )


def draw_face(rng: np.random.Generator, size: int) -> DrawnFace:
    """Draw one random face in a picture of size x size pixels.

    The result depends on the state of `rng` and on `size` alone; from equal states, two sizes show the same face.
    """
    face = sample_parameters(rng)
    canvas = Canvas(face, size)
    strands = hair_ink(canvas, face)
    paint_back_hair(canvas, face, strands)
    paint_body(canvas, face)
    paint_head(canvas, face)
    for side in SIDES:
        paint_eye(canvas, face, side)
        canvas.fill(brow_outline(face, side), face.brow, LEFT_BROW if side == LEFT else RIGHT_BROW, opacity=0.9)
    paint_nose(canvas, face)
    paint_mouth(canvas, face)
    paint_front_hair(canvas, face, strands)
    return DrawnFace(photograph(canvas, face, rng), canvas.label, canvas.to_pixels(landmarks(face)))


# ----------------------------------------------------------------------------------------------------------- colours


def mix(a: npt.ArrayLike, b: npt.ArrayLike, amount: float) -> Floats:
    """The colour `amount` of the way from a to b."""
    return np.asarray((1 - amount) * np.asarray(a) + amount * np.asarray(b), np.float32)


def tint(rng: np.random.Generator, colour: Floats, spread: float) -> Floats:
    """The colour moved at random by about `spread` grey levels a channel."""
    return np.clip(colour + rng.normal(0, spread, 3), 0, 255).astype(np.float32)


def sample_skin(rng: np.random.Generator) -> Floats:
    """A tone anywhere between the lightest and the darkest."""
    amount, index = np.modf(rng.uniform(0, len(SKIN_TONES) - 1))
    lighter, darker = SKIN_TONES[int(index)], SKIN_TONES[int(index) + 1]
    return tint(rng, mix(lighter, darker, amount), 4)


def sample_hair_colour(rng: np.random.Generator, skin: Floats) -> Floats:
    """Mostly natural, and mostly dark over dark skin; now and then dyed."""
    if rng.random() < 0.08:
        return mix(rng.uniform(20, 230, 3), WHITE / 2, 0.25)
    dark = rng.random() < 1.2 - skin.mean() / 160
    return tint(rng, rng.choice(DARK_HAIR_COLOURS if dark else HAIR_COLOURS), 7)


def sample_lips(rng: np.random.Generator, skin: Floats) -> Floats:
    """Redder than the skin around them, or painted."""
    bare = mix(skin * (0.86, 0.56, 0.56), (178, 70, 72), rng.uniform(0.1, 0.35))
    lipstick = tint(rng, rng.choice(LIPSTICKS), 14)
    return mix(bare, lipstick, rng.uniform(0.5, 0.9) if rng.random() < 0.3 else 0.0)


def sample_colour(rng: np.random.Generator, skin: Floats, hair: Floats) -> Floats:
    """Any colour, but often close to the skin or the hair: colour alone must not tell the classes apart."""
    like = rng.random()
    if like < 0.4:
        return tint(rng, skin if like < 0.2 else hair, 16)
    grey = np.full(3, rng.uniform(30, 235))
    return mix(grey, rng.uniform(20, 240, 3), rng.uniform(0.1, 0.9))


def shade(face: FaceParameters) -> Floats:
    """Skin in shadow."""
    return face.skin * SHADE


def shine(face: FaceParameters) -> Floats:
    """Skin in full light."""
    return mix(1.08 * face.skin, WHITE, 0.3)


# -------------------------------------------------------------------------------------------- shapes, in the face frame


def spline(knots: npt.ArrayLike, *, closed: bool = True, steps: int = 10) -> Points:
    """The Catmull-Rom curve through the knots (N x 2), `steps` points a span."""
    inner = np.asarray(knots, np.float64)
    before, after = (inner[-1:], inner[:2]) if closed else (2 * inner[:1] - inner[1:2], 2 * inner[-1:] - inner[-2:-1])
    padded = np.concatenate([before, inner, after])
    a, b, c, d = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([curve.reshape(-1, 2), inner[:0] if closed else inner[-1:]])


def mirrored(half: Sequence[tuple[float, float]]) -> Points:
    """A closed outline from the knots of its right half, the first and the last of them on the axis x = 0."""
    right = np.asarray(half, np.float64)
    return spline(np.concatenate([right, right[-2:0:-1] * (-1, 1)]))


def ellipse(centre: npt.ArrayLike, radii: tuple[float, float], steps: int = 40) -> Points:
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.asarray(centre) + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radii


def ribbon(line: Points, width: npt.ArrayLike) -> Points:
    """The outline of a stroke along a line (N x 2), of the given full width at each of its points."""
    tangent = np.gradient(line, axis=0)
    normal = tangent[:, ::-1] * (-1, 1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = 0.5 * np.broadcast_to(width, len(line))[:, None] * normal
    return np.concatenate([line - offset, (line + offset)[::-1]])


def between(start: Points, end: Points) -> Points:
    """The outline between two edges that run the same way, each N x 2."""
    return np.concatenate([start, end[::-1]])


def centroid(outline: Points) -> Points:
    """The centre of area of an outline, (x, y)."""
    following = np.roll(outline, -1, axis=0)
    cross = outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]
    return np.asarray(((outline + following) * cross[:, None]).sum(axis=0) / (3 * cross.sum()))


def arc(steps: int) -> Scalars:
    """Parameters from -1 to 1, dense near the ends, where lids and lips bend most."""
    return np.asarray(-np.cos(np.linspace(0, np.pi, steps)))


def dome(t: Scalars, power: float) -> Scalars:
    """1 at t = 0, falling to 0 at t = -1 and 1; the lower the power, the blunter the ends."""
    return np.asarray(np.maximum(1 - t**2, 0.0) ** power)


def turn(face: FaceParameters, points: npt.ArrayLike, reach: npt.ArrayLike = 0.0) -> Points:
    """Yaw: points on an upright cylinder as wide as the head, `reach` in front of it, after the head has turned."""
    x, y = np.asarray(points, np.float64).T
    depth = np.sqrt(np.maximum(face.width**2 - x**2, 0)) + reach
    return np.stack([x * np.cos(face.yaw) + depth * np.sin(face.yaw), y], axis=-1)


def turn_nose(face: FaceParameters, points: npt.ArrayLike) -> Points:
    """Yaw for the nose, which stands out the further the lower it gets."""
    y = np.asarray(points)[..., 1]
    return turn(face, points, reach=0.3 * np.clip((y - face.eye_line) / face.nose_length, 0, 1))


def chin_line(face: FaceParameters) -> float:
    """The y of the chin, which an open mouth lowers."""
    return 1.0 + 0.45 * face.mouth_opening


def brow_line(face: FaceParameters) -> float:
    """The y of the middle of the brows before their arch."""
    return face.eye_line - face.eye_opening - face.brow_gap


def nose_line(face: FaceParameters) -> float:
    """The y of the base of the nose."""
    return face.eye_line + face.nose_length


def head_outline(face: FaceParameters) -> Points:
    w, chin = face.width, chin_line(face)
    skull = [(0, -1), (0.60 * w, -0.87), (0.93 * w, -0.50), (w, -0.08), (0.96 * w, 0.30)]
    outline = mirrored([*skull, (face.jaw * w, 0.64), (face.chin * w, chin - 0.09), (0, chin)])
    outline[:, 0] += 0.16 * np.sin(face.yaw) * np.clip(outline[:, 1], 0, None) ** 2  # the chin is in front of the axis
    return outline


def ear_outline(face: FaceParameters, side: int) -> Points:
    return ellipse((side * (face.width + 0.01) - 0.35 * np.sin(face.yaw), face.eye_line + 0.14), (0.10, 0.20))


def lids(face: FaceParameters, side: int) -> tuple[Points, Points]:
    """The edges of the upper and of the lower lid of one eye, from left to right."""
    t = arc(33)
    x = face.width * (side * face.eye_spacing + face.eye_width * t)
    y = face.eye_line - face.eye_tilt * side * t
    upper, lower = y - face.eye_opening * dome(t, 0.7), y + 0.6 * face.eye_opening * dome(t, 0.9)
    return turn(face, np.stack([x, upper], axis=1)), turn(face, np.stack([x, lower], axis=1))


def brow_outline(face: FaceParameters, side: int) -> Points:
    t = np.linspace(0, 1, 24)  # outwards
    x = side * face.width * (face.eye_spacing + face.eye_width * (2.35 * t - 1.05))
    y = brow_line(face) - face.brow_arch * np.sin(np.pi * np.minimum(1.25 * t, 1.1)) - 0.6 * face.eye_tilt * t
    width = face.brow_thickness * np.interp(t, (0, 0.06, 0.35, 0.75, 1), (0.45, 0.85, 1.0, 0.7, 0.12))
    return turn(face, ribbon(np.stack([x, y], axis=1), width))


def nose_outline(face: FaceParameters) -> Points:
    w, top, base = face.nose_width * face.width, face.eye_line - 0.05, nose_line(face)
    bridge = [(0, top - 0.01), (0.36 * w + 0.012, top + 0.02), (0.40 * w, top + 0.15), (0.56 * w, base - 0.18)]
    wing = [(0.94 * w, base - 0.11), (w, base - 0.05), (0.72 * w, base - 0.01), (0.3 * w, base + 0.01)]
    return turn_nose(face, mirrored([*bridge, *wing, (0, base + 0.02)]))


def nose_tip(face: FaceParameters) -> Points:
    return turn_nose(face, (0, nose_line(face) - 0.06))


def lip_edges(face: FaceParameters) -> tuple[Points, Points, Points, Points]:
    """Top of the upper lip, its bottom, top of the lower lip, its bottom: from corner to corner, left to right."""
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


def is_long(face: FaceParameters) -> bool:
    return face.length > LONG_HAIR


def crown(face: FaceParameters) -> Points:
    """The outer edge of the hair over the head, from the left ear up and down to the right one."""
    height, middle = 0.88 + face.volume, -0.12
    end = np.arccos((middle - min(face.length, 0.0)) / height)
    angle = np.linspace(-end, end, 81)
    # Short hair thins out towards the ears; long hair goes on to fall from there.
    width = face.width + 0.8 * face.volume * (1.0 if is_long(face) else dome(angle / end, 0.4))
    wave = 1 + face.curl * np.sin(13 * angle + 7 * face.parting) * dome(angle / end, 0.5)
    x = width * np.sign(angle) * np.abs(np.sin(angle)) ** 0.85
    y = middle - height * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.9
    return np.stack([x * wave, y * wave], axis=1)


def hairline_edge(face: FaceParameters) -> Points:
    """The edge of the hair over the forehead, from the left temple to the right one; it stays off the brows."""
    s = np.linspace(-1, 1, 81)
    lowest = brow_line(face) - 0.7 * face.brow_arch - 0.5 * face.brow_thickness
    y = np.minimum(face.hairline + face.arch * np.abs(s - face.parting) ** face.sweep, lowest)
    notches = np.abs(np.sin(np.pi * (4.5 * s + 3 * face.parting)))
    return turn(face, np.stack([0.9 * face.width * s, y - face.fringe * notches], axis=1))


def fall(face: FaceParameters, side: int, x: float, top: float, flare: float) -> Points:
    """An edge of long hair, from beside the head at (x, top) down to the ends."""
    t = np.linspace(0, 1, 33)
    y = top + (face.length - top) * t
    wave = 1.4 * face.curl * np.sin(9 * y + 3 * side) * t
    return np.stack([side * (x + flare * np.sin(0.8 * np.pi * t) + wave), y], axis=1)


def ends(face: FaceParameters, start: Points, end: Points) -> Points:
    """The ragged lower edge of long hair between two points."""
    t = np.linspace(0, 1, 25)[:, None]
    sag = 0.10 * np.sqrt(t * (1 - t)) + (0.02 + 0.4 * face.fringe) * np.abs(np.sin(3 * np.pi * t))
    return start + (end - start) * t + sag * (0, 1)


def back_hair_outline(face: FaceParameters) -> Points:
    """Hair seen behind the head and, when long, the neck."""
    if not is_long(face):
        return crown(face)
    left, right = (fall(face, side, face.width + 0.8 * face.volume, 0.0, 0.09) for side in SIDES)
    return np.concatenate([crown(face), right, ends(face, right[-1], left[-1]), left[::-1]])


def lock_outline(face: FaceParameters, side: int) -> Points:
    """Long hair in front of one ear."""
    outer = fall(face, side, face.width + 0.8 * face.volume, 0.0, 0.09)
    temple = float(hairline_edge(face)[0 if side == LEFT else -1, 1])
    inner = turn(face, fall(face, side, 0.9 * face.width, temple, -0.05))
    return np.concatenate([outer, ends(face, outer[-1], inner[-1]), inner[::-1]])


def landmarks(face: FaceParameters) -> Points:
    """The five points of `DrawnFace`, in the face frame."""
    eyes = [centroid(between(*lids(face, side))) for side in SIDES]
    lip = lip_edges(face)[0]
    return np.stack([*eyes, nose_tip(face), lip[0], lip[-1]])


# ----------------------------------------------------------------------------------------------------------- painting


class Canvas:
    """A picture and its label map, painted together with shapes given in the face frame."""

    def __init__(self, face: FaceParameters, size: int) -> None:
        cos, sin = np.cos(face.roll), np.sin(face.roll)
        self.unit = face.scale * size  # pixels
        self.rotation = np.array([[cos, -sin], [sin, cos]])
        self.origin = size * np.array(face.centre) - 0.5
        x, y = np.meshgrid(*(np.arange(size) - self.origin[:, None]) / self.unit)
        self.x = (cos * x + sin * y).astype(np.float32)  # of every pixel, in the face frame
        self.y = (cos * y - sin * x).astype(np.float32)
        self.image = backdrop(face, size)
        self.label = np.full((size, size), BACKGROUND, np.uint8)

    def to_pixels(self, points: Points) -> Points:
        """Map points (N x 2) of the face frame to pixels."""
        return np.asarray(self.unit * points @ self.rotation.T + self.origin)

    def window(self, outline: Points) -> Window:
        """The part of the picture that holds an outline."""
        corners = self.to_pixels(outline)
        low = np.clip(np.floor(corners.min(axis=0)), 0, len(self.label)).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, low, len(self.label)).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def cover(self, outline: Points) -> tuple[Window, Floats]:
        """The window of an outline and how much of each pixel in it lies inside the outline."""
        rows, columns = window = self.window(outline)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not height * width:
            return window, np.zeros((height, width), np.float32)
        fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        corners = (self.to_pixels(outline) - (columns.start, rows.start) + 0.5) * SUPERSAMPLING - 0.5
        cv2.fillPoly(fine, [np.rint(corners * 2**FIXED_POINT_BITS).astype(np.int32)], (255,), shift=FIXED_POINT_BITS)
        coverage = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return window, coverage.astype(np.float32) / np.float32(255)

    def stencil(self, outline: Points) -> Floats:
        """The coverage of an outline over the whole picture, to paint within."""
        mask = np.zeros(self.label.shape, np.float32)
        window, mask[window] = self.cover(outline)
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
        """Paint an outline with a colour, or from an image of the picture's size, and label what it covers."""
        window, coverage = self.cover(outline)
        if label is not None:
            self.label[window][coverage >= 0.5] = label
        self._blend(window, ink if ink.ndim == 1 else ink[window], opacity * coverage, within)

    def glow(
        self,
        centre: npt.ArrayLike,
        radii: tuple[float, float],
        ink: Floats,
        opacity: float,
        *,
        within: Floats | None = None,
    ) -> None:
        """Paint a soft ellipse that fades out towards its radii; it has no label."""
        x, y = np.asarray(centre, np.float32)
        window = self.window(ellipse((x, y), radii, steps=16))
        distance = ((self.x[window] - x) / radii[0]) ** 2 + ((self.y[window] - y) / radii[1]) ** 2
        self._blend(window, ink, opacity * np.maximum(1 - distance, 0) ** 2, within)

    def _blend(self, window: Window, ink: Floats, alpha: Floats, within: Floats | None) -> None:
        if within is not None:
            alpha = alpha * within[window]
        patch = self.image[window]
        patch += alpha[..., None] * (ink - patch)


def grain(rng: np.random.Generator, cells: int, size: int) -> Floats:
    """Smooth noise around 0.5 over a picture, from cells x cells random values whatever its size."""
    coarse = rng.random((cells, cells), np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def backdrop(face: FaceParameters, size: int) -> Floats:
    """The scene behind the head: two colours in a pattern, mottled."""
    rng = np.random.default_rng(face.texture_seed)
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
    cos, sin = np.cos(np.float32(face.pattern_angle)), np.sin(np.float32(face.pattern_angle))
    along, across = cos * x + sin * y, cos * y - sin * x
    frequency = np.float32(2 * np.pi * face.pattern_scale)
    match face.pattern:
        case "ramp":
            amount = along + 0.5
        case "blobs":
            amount = grain(rng, 2 + int(face.pattern_scale), size)
        case "stripes":
            amount = 0.5 + 0.5 * np.tanh(3 * np.sin(frequency * along))
        case _:
            amount = 0.5 + 0.5 * np.tanh(4 * np.sin(frequency * along) * np.sin(frequency * across))
    near, far = face.backdrop
    mottle = 0.86 + 0.16 * grain(rng, 7, size) + 0.12 * grain(rng, 40, size)
    return np.asarray((near + amount[..., None] * (far - near)) * mottle[..., None], np.float32)


def hair_ink(canvas: Canvas, face: FaceParameters) -> Floats:
    """Strands that spread from the parting, under a band of light: an image of the canvas's size."""
    rng = np.random.default_rng(face.texture_seed + 1)
    strands = 0.6 * rng.random((12, 256), np.float32) + 0.4 * np.repeat(rng.random((12, 64), np.float32), 4, axis=1)
    part = np.float32(0.8 * face.parting * face.width)
    radius, angle = cv2.cartToPolar(canvas.x - part, canvas.y - np.float32(face.whorl))
    angle += np.float32(2 * face.curl) * np.sin(14 * radius)
    columns, rows = angle * np.float32(256 / (2 * np.pi)), radius * np.float32(3.5)
    texture = cv2.remap(strands, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    height = np.hypot(canvas.x / np.float32(face.width), canvas.y)  # 1 on the skull
    band = 0.4 * np.exp(-(((height - 0.86) / 0.12) ** 2))
    return np.asarray((0.66 + (0.5 + band) * texture)[..., None] * (face.hair + 6), np.float32)


def paint_back_hair(canvas: Canvas, face: FaceParameters, strands: Floats) -> None:
    if face.bun:
        canvas.fill(ellipse((0, -1 - face.volume), (1.2 * face.bun, face.bun)), strands, HAIR)
    canvas.fill(back_hair_outline(face), strands * np.float32(0.75), HAIR)


def paint_body(canvas: Canvas, face: FaceParameters) -> None:
    """Neck and clothes: background, as in Helen."""
    w, chin = face.width, chin_line(face)
    neck = mirrored([(0, 0.5), (0.56 * w, 0.5), (0.6 * w, 1.1), (0.85 * w, 1.36), (2.2 * w, 1.65), (2, 4), (0, 4)])
    canvas.fill(neck, 0.86 * face.skin, BACKGROUND)
    canvas.glow((0.1 * np.sin(face.yaw), chin), (0.75 * w, 0.42), shade(face), 0.75, within=canvas.stencil(neck))
    clothes = mirrored([(0, face.neckline), (0.62 * w, 1.3), (1.1 * w, 1.42), (2.3 * w, 1.62), (3 * w, 4), (0, 4)])
    canvas.fill(clothes, face.clothes, BACKGROUND)


def paint_head(canvas: Canvas, face: FaceParameters) -> None:
    for side in () if face.locks else SIDES:
        ear = ear_outline(face, side)
        canvas.fill(ear, 0.93 * face.skin, SKIN)
        canvas.glow(ear.mean(axis=0), (0.075, 0.15), shade(face), 0.7)
    outline = head_outline(face)
    canvas.fill(outline, 0.88 * face.skin, SKIN)
    skin = canvas.stencil(outline)
    w, (light_x, light_y) = face.width, face.light
    canvas.glow((0.35 * light_x * w, 0.3 * light_y - 0.1), (1.25 * w, 1.35), shine(face), 0.5, within=skin)
    canvas.glow((-1.1 * light_x * w, 0.2 - 0.3 * light_y), (0.9 * w, 1.3), shade(face), 0.5, within=skin)
    rouge = face.skin * ROUGE
    for side in SIDES:
        canvas.glow(turn(face, (0.56 * side * w, 0.34)), (0.34, 0.28), rouge, face.blush, within=skin)
        socket = turn(face, (face.eye_spacing * side * w, face.eye_line))
        canvas.glow(socket, (0.27, 0.24), shade(face), 0.45, within=skin)
    canvas.glow((0, 0.85), (1.1 * w, 0.62), mix(face.hair, shade(face), 0.5), face.stubble, within=skin)


def paint_eye(canvas: Canvas, face: FaceParameters, side: int) -> None:
    upper, lower = lids(face, side)
    outline = between(upper, lower)
    canvas.fill(outline, mix(SCLERA, face.skin, 0.15), LEFT_EYE if side == LEFT else RIGHT_EYE)
    eye = canvas.stencil(outline)
    x, y = side * face.eye_spacing * face.width + face.gaze, face.eye_line - 0.25 * face.eye_opening
    r = face.iris_radius
    for radius, ink in ((r, 0.55 * face.iris), (0.84 * r, face.iris), (0.42 * r, INK)):
        canvas.fill(turn(face, ellipse((x, y), (radius, radius))), ink, within=eye)
    canvas.fill(turn(face, ellipse((x - 0.3 * r, y - 0.35 * r), (0.2 * r, 0.2 * r))), WHITE, within=eye)
    taper = dome(arc(len(upper)), 0.4)
    canvas.fill(ribbon(upper + (0, 0.012), 0.05), INK, opacity=0.35, within=eye)  # the shadow of the lid
    canvas.fill(ribbon(upper, 0.012 + 0.022 * taper), INK, opacity=0.9)
    canvas.fill(ribbon(lower, 0.012 * taper), shade(face), opacity=0.8)
    canvas.fill(ribbon(upper - (0, 0.045), 0.016 * taper), shade(face), opacity=0.6)


def paint_nose(canvas: Canvas, face: FaceParameters) -> None:
    outline = nose_outline(face)
    canvas.fill(outline, shade(face), NOSE, opacity=0.13)
    nose = canvas.stencil(outline)
    w, base, tip = face.nose_width * face.width, nose_line(face), nose_tip(face)
    canvas.glow((tip[0], base + 0.07), (1.2 * w, 0.09), shade(face), 0.5, within=1 - nose)
    away = -np.sign(face.light[0])
    flank = turn_nose(face, (0.62 * away * w, base - 0.5 * face.nose_length))
    canvas.glow(flank, (0.5 * w, 0.75 * face.nose_length), shade(face), 0.75, within=nose)
    bridge = turn_nose(face, np.linspace((0, face.eye_line), (0, base - 0.06), 9))
    canvas.fill(ribbon(bridge, np.linspace(0.04, 0.07, 9)), shine(face), opacity=0.35, within=nose)
    canvas.glow(tip, (0.55 * w, 0.10), shine(face), 0.8, within=nose)
    wing = spline([(0.62 * w, base - 0.15), (0.95 * w, base - 0.11), (w, base - 0.04), (0.74 * w, base)], closed=False)
    taper = 0.022 * np.sin(np.linspace(0.2, np.pi - 0.2, len(wing)))
    for side in SIDES:
        nostril = turn_nose(face, ellipse((0.42 * side * w, base - 0.012), (0.24 * w, 0.022)))
        canvas.fill(nostril, mix(0.4 * shade(face), INK, 0.3), opacity=0.9, within=nose)
        canvas.fill(ribbon(turn_nose(face, wing * (side, 1)), taper), shade(face), opacity=0.75)


def paint_mouth(canvas: Canvas, face: FaceParameters) -> None:
    top, upper, lower, bottom = lip_edges(face)
    middle = len(top) // 2
    canvas.glow(bottom[middle] + (0, 0.05), (0.28, 0.08), shade(face), 0.5)
    # The whole mouth, then its upper part, then the opening: each hides a seam, so that no skin shows between the lips.
    canvas.fill(between(top, bottom), face.lips, LOWER_LIP)
    canvas.fill(between(top, lower), 0.78 * face.lips, UPPER_LIP)
    gloss = bottom[middle] - (0, 0.55 * face.lower_lip)
    canvas.glow(gloss, (0.2, 0.05), mix(face.lips, WHITE, 0.6), 0.6, within=canvas.stencil(between(lower, bottom)))
    if not face.mouth_opening:
        canvas.fill(ribbon(upper, 0.02 * dome(arc(len(upper)), 0.3)), CAVITY, opacity=0.85)
        return
    opening = between(upper, lower)
    canvas.fill(opening, CAVITY, INNER_MOUTH)
    inside = canvas.stencil(opening)
    canvas.glow(lower[middle] + (0, 0.04), (0.22, 0.12), TONGUE, 0.9, within=inside)
    canvas.fill(between(upper, upper + (0, face.teeth * face.mouth_opening)), TEETH, within=inside)


def paint_front_hair(canvas: Canvas, face: FaceParameters, strands: Floats) -> None:
    cap = np.concatenate([crown(face), hairline_edge(face)[::-1]])
    locks = [lock_outline(face, side) for side in SIDES] if face.locks else []
    skin = canvas.stencil(head_outline(face))
    for outline in (cap, *locks):
        canvas.fill(outline * (0.97, 1) + (0, 0.035), shade(face), opacity=0.4, within=skin)  # the shadow it casts
    for outline in (cap, *locks):
        canvas.fill(outline, strands, HAIR)


def photograph(canvas: Canvas, face: FaceParameters, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What a camera makes of the scene: uneven light, blur, contrast, exposure and noise."""
    light_x, light_y = np.array(face.light, np.float32)
    light = 1 + np.float32(0.14) * np.tanh(light_x * canvas.x + light_y * canvas.y)
    image = cv2.GaussianBlur(canvas.image * light[..., None], (0, 0), max(face.blur * len(light), 0.1))
    image = ((image - 128) * np.float32(face.contrast) + 128) * face.gain
    image += np.float32(face.noise) * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
