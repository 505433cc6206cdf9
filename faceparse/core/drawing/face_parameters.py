"""The parameters of one drawn face, chosen at random."""

from dataclasses import dataclass

import numpy as np

from faceparse.core.drawing.colours import (
    IRIS_COLOURS,
    Floats,
    mix,
    sample_colour,
    sample_hair_colour,
    sample_lips,
    sample_skin,
    tint,
)

# Each hairline as ranges of the fields hairline, arch, parting, sweep and fringe of FaceParameters.
HAIRLINES = (
    ((-0.68, -0.56), (0.10, 0.25), (-0.2, 0.2), (1.8, 3.0), (0.0, 0.02)),  # swept back
    ((-0.84, -0.74), (0.15, 0.35), (-0.1, 0.1), (1.6, 2.6), (0.0, 0.01)),  # a high forehead
    ((-0.80, -0.66), (0.30, 0.45), (-0.6, 0.6), (0.8, 1.2), (0.0, 0.02)),  # parted
    ((-0.46, -0.34), (0.00, 0.08), (-0.5, 0.5), (1.8, 3.0), (0.02, 0.09)),  # a fringe
)


@dataclass(frozen=True, eq=False)
class FaceParameters:
    """Everything that makes one picture except its size and its noise. Lengths are in the face frame unless noted.

    The face frame has x to the image right, y down, the origin in the middle of the head, the crown of the skull at
    y = -1 and the chin near y = +1.
    """

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
    """Choose one face at random. The number of random draws does not depend on a picture's size."""
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
