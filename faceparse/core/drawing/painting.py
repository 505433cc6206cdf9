"""The parts of a face painted on a canvas, and the photograph that a camera takes of it."""

import cv2
import numpy as np
import numpy.typing as npt

from faceparse.core.drawing.canvas import Canvas
from faceparse.core.drawing.colours import CAVITY, INK, SCLERA, TEETH, TONGUE, WHITE, Floats, mix
from faceparse.core.drawing.curves import arc, between, dome, ellipse, mirrored, ribbon, spline
from faceparse.core.drawing.drawn_classes import (
    BACKGROUND,
    HAIR,
    INNER_MOUTH,
    LEFT_BROW,
    LEFT_EYE,
    LOWER_LIP,
    NOSE,
    RIGHT_BROW,
    RIGHT_EYE,
    SKIN,
    UPPER_LIP,
)
from faceparse.core.drawing.face_parameters import FaceParameters
from faceparse.core.drawing.outlines import (
    LEFT,
    SIDES,
    back_hair_outline,
    brow_outline,
    chin_line,
    crown,
    ear_outline,
    hairline_edge,
    head_outline,
    lids,
    lip_edges,
    lock_outline,
    nose_line,
    nose_outline,
    nose_tip,
    turn,
    turn_nose,
)

SHADE = np.array((0.56, 0.48, 0.46), np.float32)  # factors of the skin's RGB: shadows on skin are also redder
ROUGE = np.array((1.02, 0.72, 0.70), np.float32)


def _shade(face: FaceParameters) -> Floats:
    """Skin in shadow."""
    return face.skin * SHADE


def _shine(face: FaceParameters) -> Floats:
    """Skin in full light."""
    return mix(1.08 * face.skin, WHITE, 0.3)


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
    """Paint the hair behind the head, and a bun if there is one."""
    if face.bun:
        canvas.fill(ellipse((0, -1 - face.volume), (1.2 * face.bun, face.bun)), strands, HAIR)
    canvas.fill(back_hair_outline(face), strands * np.float32(0.75), HAIR)


def paint_body(canvas: Canvas, face: FaceParameters) -> None:
    """Paint neck and clothes. Their class is background, as in Helen."""
    w, chin = face.width, chin_line(face)
    neck = mirrored([(0, 0.5), (0.56 * w, 0.5), (0.6 * w, 1.1), (0.85 * w, 1.36), (2.2 * w, 1.65), (2, 4), (0, 4)])
    canvas.fill(neck, 0.86 * face.skin, BACKGROUND)
    canvas.glow((0.1 * np.sin(face.yaw), chin), (0.75 * w, 0.42), _shade(face), 0.75, within=canvas.stencil(neck))
    clothes = mirrored([(0, face.neckline), (0.62 * w, 1.3), (1.1 * w, 1.42), (2.3 * w, 1.62), (3 * w, 4), (0, 4)])
    canvas.fill(clothes, face.clothes, BACKGROUND)


def paint_head(canvas: Canvas, face: FaceParameters) -> None:
    """Paint ears and head, with light, shadow, cheeks and stubble."""
    for side in () if face.locks else SIDES:
        ear = ear_outline(face, side)
        canvas.fill(ear, 0.93 * face.skin, SKIN)
        canvas.glow(ear.mean(axis=0), (0.075, 0.15), _shade(face), 0.7)
    outline = head_outline(face)
    canvas.fill(outline, 0.88 * face.skin, SKIN)
    skin = canvas.stencil(outline)
    w, (light_x, light_y) = face.width, face.light
    canvas.glow((0.35 * light_x * w, 0.3 * light_y - 0.1), (1.25 * w, 1.35), _shine(face), 0.5, within=skin)
    canvas.glow((-1.1 * light_x * w, 0.2 - 0.3 * light_y), (0.9 * w, 1.3), _shade(face), 0.5, within=skin)
    rouge = face.skin * ROUGE
    for side in SIDES:
        canvas.glow(turn(face, (0.56 * side * w, 0.34)), (0.34, 0.28), rouge, face.blush, within=skin)
        socket = turn(face, (face.eye_spacing * side * w, face.eye_line))
        canvas.glow(socket, (0.27, 0.24), _shade(face), 0.45, within=skin)
    canvas.glow((0, 0.85), (1.1 * w, 0.62), mix(face.hair, _shade(face), 0.5), face.stubble, within=skin)


def paint_eye(canvas: Canvas, face: FaceParameters, side: int) -> None:
    """Paint one eye with iris, pupil and lids."""
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
    canvas.fill(ribbon(lower, 0.012 * taper), _shade(face), opacity=0.8)
    canvas.fill(ribbon(upper - (0, 0.045), 0.016 * taper), _shade(face), opacity=0.6)


def paint_brow(canvas: Canvas, face: FaceParameters, side: int) -> None:
    """Paint one brow."""
    canvas.fill(brow_outline(face, side), face.brow, LEFT_BROW if side == LEFT else RIGHT_BROW, opacity=0.9)


def paint_nose(canvas: Canvas, face: FaceParameters) -> None:
    """Paint the nose with its light, shadow, nostrils and wings."""
    outline = nose_outline(face)
    canvas.fill(outline, _shade(face), NOSE, opacity=0.13)
    nose = canvas.stencil(outline)
    w, base, tip = face.nose_width * face.width, nose_line(face), nose_tip(face)
    canvas.glow((tip[0], base + 0.07), (1.2 * w, 0.09), _shade(face), 0.5, within=1 - nose)
    away = -np.sign(face.light[0])
    flank = turn_nose(face, (0.62 * away * w, base - 0.5 * face.nose_length))
    canvas.glow(flank, (0.5 * w, 0.75 * face.nose_length), _shade(face), 0.75, within=nose)
    bridge = turn_nose(face, np.linspace((0, face.eye_line), (0, base - 0.06), 9))
    canvas.fill(ribbon(bridge, np.linspace(0.04, 0.07, 9)), _shine(face), opacity=0.35, within=nose)
    canvas.glow(tip, (0.55 * w, 0.10), _shine(face), 0.8, within=nose)
    wing = spline([(0.62 * w, base - 0.15), (0.95 * w, base - 0.11), (w, base - 0.04), (0.74 * w, base)], closed=False)
    taper = 0.022 * np.sin(np.linspace(0.2, np.pi - 0.2, len(wing)))
    for side in SIDES:
        nostril = turn_nose(face, ellipse((0.42 * side * w, base - 0.012), (0.24 * w, 0.022)))
        canvas.fill(nostril, mix(0.4 * _shade(face), INK, 0.3), opacity=0.9, within=nose)
        canvas.fill(ribbon(turn_nose(face, wing * (side, 1)), taper), _shade(face), opacity=0.75)


def paint_mouth(canvas: Canvas, face: FaceParameters) -> None:
    """Paint both lips and, if the mouth is open, what is inside."""
    top, upper, lower, bottom = lip_edges(face)
    middle = len(top) // 2
    canvas.glow(bottom[middle] + (0, 0.05), (0.28, 0.08), _shade(face), 0.5)
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
    """Paint the hair over the forehead and in front of the ears, with its shadow."""
    cap = np.concatenate([crown(face), hairline_edge(face)[::-1]])
    locks = [lock_outline(face, side) for side in SIDES] if face.locks else []
    skin = canvas.stencil(head_outline(face))
    for outline in (cap, *locks):
        canvas.fill(outline * (0.97, 1) + (0, 0.035), _shade(face), opacity=0.4, within=skin)  # the shadow of the hair
    for outline in (cap, *locks):
        canvas.fill(outline, strands, HAIR)


def photograph(canvas: Canvas, face: FaceParameters, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The scene as a camera takes it: uneven light, blur, contrast, exposure and noise."""
    light_x, light_y = np.array(face.light, np.float32)
    light = 1 + np.float32(0.14) * np.tanh(light_x * canvas.x + light_y * canvas.y)
    image = cv2.GaussianBlur(canvas.image * light[..., None], (0, 0), max(face.blur * len(light), 0.1))
    image = ((image - 128) * np.float32(face.contrast) + 128) * face.gain
    image += np.float32(face.noise) * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
