"""Colours of faces, hair and clothes, and how they mix."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]  # a colour (3), RGB 0..255; an image of colours, H x W x 3; a mask H x W, 0..1


def _palette(codes: str) -> Floats:
    """Colours N x 3 from their hexadecimal codes."""
    return np.array([list(bytes.fromhex(code)) for code in codes.split()], np.float32)


# Two neighbours mix into a tone between them.
SKIN_TONES = _palette("fddfca f2c9ac e3b38e cd9870 b27c56 8f5f40 6c4631 4f3427")
HAIR_COLOURS = _palette("1c1818 2c201a 4a3020 3a2a22 7e5636 a8794a c49a5c e2c692 8c3e20 bc6230 92908e d4d2ce")
DARK_HAIR_COLOURS = HAIR_COLOURS[:4]
LIPSTICKS = _palette("b02430 ce546c 80283f d66654")
IRIS_COLOURS = _palette("422a1a 684626 5c703e 547a9e 74848c")
WHITE, INK, SCLERA, TEETH, TONGUE, CAVITY = _palette("ffffff 18100e eee8e4 f0eade b05454 34100f")


def mix(a: npt.ArrayLike, b: npt.ArrayLike, amount: float) -> Floats:
    """The colour `amount` of the way from a to b."""
    return np.asarray((1 - amount) * np.asarray(a) + amount * np.asarray(b), np.float32)


def tint(rng: np.random.Generator, colour: Floats, spread: float) -> Floats:
    """The colour moved at random by about `spread` grey levels per channel."""
    return np.clip(colour + rng.normal(0, spread, 3), 0, 255).astype(np.float32)


def sample_skin(rng: np.random.Generator) -> Floats:
    """A skin tone, anywhere between the lightest and the darkest."""
    amount, index = np.modf(rng.uniform(0, len(SKIN_TONES) - 1))
    lighter, darker = SKIN_TONES[int(index)], SKIN_TONES[int(index) + 1]
    return tint(rng, mix(lighter, darker, amount), 4)


def sample_hair_colour(rng: np.random.Generator, skin: Floats) -> Floats:
    """A hair colour: mostly natural, and mostly dark over dark skin; now and then dyed."""
    if rng.random() < 0.08:
        return mix(rng.uniform(20, 230, 3), WHITE / 2, 0.25)
    dark = rng.random() < 1.2 - skin.mean() / 160
    return tint(rng, rng.choice(DARK_HAIR_COLOURS if dark else HAIR_COLOURS), 7)


def sample_lips(rng: np.random.Generator, skin: Floats) -> Floats:
    """A colour of lips: redder than the skin around them, or painted."""
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
