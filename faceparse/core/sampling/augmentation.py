"""Augment one sample: geometry and colour, as pure functions of the image's size and of a random generator.

Matrices are 2 x 3 and map source -> crop.
"""

import random
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from faceparse.core.images.warp import Size, warp_image
from faceparse.core.settings import DataSettings


@dataclass(frozen=True)
class Augmentation:
    """Changes to one sample in one epoch; the default changes nothing."""

    scale: float = 1.0
    """Side of the region to cut out, as a multiple of the image box: above 1 the face gets smaller."""
    rotation: float = 0.0
    """Degrees."""
    shift: tuple[float, float] = (0.0, 0.0)
    """To the right and down, as shares of the crop's sides."""
    mirror: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    grey: bool = False
    blur: float = 0.0
    """Standard deviation as a share of the crop's height."""
    jpeg: int = 0
    """Quality; 0 leaves the picture as it is."""
    noise: float = 0.0
    """Standard deviation as a share of the range of values."""
    noise_seed: int = 0
    erase: tuple[float, float, float, float] | None = None
    """Left, top, width and height of a rectangle, as shares of the crop's sides."""
    behind: "Window | None" = None
    """Background beyond the photograph's border; where None, it is black and ignored."""
    empty: bool = False
    """Show only `behind`, without the photograph."""
    others: "tuple[Piece, ...]" = ()
    """Further photographs in the crop, where this one is shown from afar."""


@dataclass(frozen=True)
class Window:
    """A square piece of a background picture, by numbers from 0 to 1."""

    picture: float
    """Which picture, from 0 to 1."""
    left: float
    top: float
    side: float


@dataclass(frozen=True)
class Piece:
    """Another photograph in the crop."""

    sample: float
    """Which photograph, from 0 to 1."""
    scale: float
    rotation: float
    shift: tuple[float, float]
    mirror: bool


def draw_augmentation(settings: DataSettings, *, seed: int, epoch: int, index: int, copy: int = 0) -> Augmentation:
    """Augmentation of one sample in one epoch. A pure function: every loader process draws the same.

    Args:
        copy: which of the sample's appearances in the epoch, from 0.
    """
    # Python's own generator: seeded by text it is the same everywhere; NumPy's takes ten times as long to set up.
    draw = random.Random(f"{seed} {epoch} {index}" + (f" {copy}" if copy else ""))
    # Draw every number whatever the settings are, so that switching one off does not change the others.
    normal_scale, normal_rotation = draw.gauss(), draw.gauss()
    turned, mirrored, *jitter = (draw.random() for _ in range(5))
    sigma = settings.scale_sigma if settings.random_scale else 0.0
    rotate = settings.random_scale and turned < settings.rotation_probability
    brightness, contrast, saturation = (1 + settings.color_jitter * (2 * value - 1) for value in jitter)
    right, down, grey, blurred, sharpness, compressed, quality, noisy, noise = (draw.random() for _ in range(9))
    noise_seed, erased, area, aspect, left, top = draw.getrandbits(32), *(draw.random() for _ in range(5))
    scale = _clip(1 + sigma * normal_scale, 1 - sigma, 1 + sigma)
    rotation = settings.rotation_sigma * _clip(normal_rotation, -2, 2) if rotate else 0.0
    shift = (settings.shift * (2 * right - 1), settings.shift * (2 * down - 1))
    kind, framed, *numbers = (draw.random() for _ in range(6))
    far, empty = kind < settings.far, 1 - kind <= settings.empty
    filled = settings.backgrounds is not None and (far or empty or framed < 0.5)
    pieces = _pieces(draw, random_mirror=settings.random_mirror)
    if far:
        scale, rotation, shift = pieces[0].scale, pieces[0].rotation, pieces[0].shift
    return Augmentation(
        scale=scale,
        rotation=rotation,
        shift=shift,
        behind=Window(*numbers) if filled else None,
        empty=empty,
        others=tuple(pieces[1:]) if far else (),
        mirror=settings.random_mirror and mirrored < 0.5,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        grey=grey < settings.grey,
        blur=_between(0.003, 0.02, sharpness) if blurred < settings.blur else 0.0,
        jpeg=round(_between(20, 90, quality)) if compressed < settings.jpeg else 0,
        noise=0.08 * noise if noisy < settings.noise else 0.0,
        noise_seed=noise_seed if noisy < settings.noise else 0,
        erase=_rectangle(area, aspect, left, top) if erased < settings.erase else None,
    )


def _pieces(draw: random.Random, *, random_mirror: bool) -> list[Piece]:
    """One to four photographs at 1 / 1.3 to 1 / 3.6 of their size, turned up to 45 degrees.

    Each lies around its own quarter of the crop; parts of it may lie outside.
    """
    quarters = [(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)]
    draw.shuffle(quarters)
    pieces = []
    for x, y in quarters[: 1 + draw.randrange(4)]:
        size, turn, right, down, mirrored, sample = (draw.random() for _ in range(6))
        pieces.append(
            Piece(
                sample=sample,
                scale=_between(1.3, 3.6, size),
                rotation=45 * (2 * turn - 1),
                shift=(x + 0.4 * (right - 0.5), y + 0.4 * (down - 0.5)),
                mirror=random_mirror and mirrored < 0.5,
            )
        )
    return pieces


def _between(low: float, high: float, share: float) -> float:
    """Number between `low` and `high` at `share` of the way, on a logarithmic scale."""
    return float(low * (high / low) ** share)


def _rectangle(area: float, aspect: float, left: float, top: float) -> tuple[float, float, float, float]:
    """Rectangle of 2 to 15 % of the crop, with sides up to 2 : 1 (Zhong et al., Random erasing, AAAI 2020)."""
    side, stretch = _between(0.02, 0.15, area) ** 0.5, _between(0.5, 2.0, aspect) ** 0.5
    width, height = side * stretch, side / stretch
    return left * (1 - width), top * (1 - height), width, height


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def warp_image_and_edge(
    image: np.ndarray, edge: np.ndarray, matrix: np.ndarray, size: Size
) -> tuple[np.ndarray, np.ndarray]:
    """Warp an image and its edge map, both bilinear and black outside.

    Every edge value above 0 becomes 1, so that edges grow a little thicker, as in the published loader. Edges are 0 or
    1, and 0 outside.
    """
    # Warp both as one picture: the fourth channel costs nothing (see `warp_image`).
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(edge, picture, 3)
    warped = warp_image(picture, matrix, size)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), (cv2.extractChannel(warped, 3) != 0).view(np.uint8)


def jitter_colour(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Change brightness, contrast around the mean, and saturation of an H x W x 3 uint8 RGB image."""
    a = augmentation
    if (a.brightness, a.contrast, a.saturation) == (1.0, 1.0, 1.0):
        return image
    if a.saturation != 1.0:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, a.saturation, grey, 1 - a.saturation, 0)
    mean = float(image.mean())
    # Not `convertScaleAbs`: it takes absolute values, so pixels that contrast makes darker than black turn bright.
    return cv2.addWeighted(image, a.brightness * a.contrast, image, 0, a.brightness * (1 - a.contrast) * mean)


def degrade(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Damage an H x W x 3 uint8 RGB image as cameras and networks do: grey, blur, noise, JPEG, a lost rectangle."""
    a = augmentation
    if not (a.grey or a.blur or a.noise or a.jpeg or a.erase):
        return image
    from torchvision.transforms.v2 import functional as F  # slow to import, and most settings do not need it

    picture = torch.from_numpy(image).permute(2, 0, 1)
    if a.grey:
        picture = F.rgb_to_grayscale(picture, num_output_channels=3)
    if a.blur:
        sigma = a.blur * image.shape[0]
        reach = 2 * round(2 * sigma) + 1
        picture = F.gaussian_blur(picture, [reach, reach], [sigma, sigma])
    if a.noise:
        # Not F.gaussian_noise: it draws its own random numbers.
        noise = np.random.default_rng(a.noise_seed).standard_normal(picture.shape, np.float32)
        picture = (picture + 255 * a.noise * torch.from_numpy(noise)).clamp(0, 255).to(torch.uint8)
    if a.jpeg:
        picture = F.jpeg(picture.contiguous(), a.jpeg)
    if a.erase:
        height, width = image.shape[:2]
        left, top, across, down = a.erase
        picture = F.erase(
            picture,
            round(top * height),
            round(left * width),
            round(down * height),
            round(across * width),
            torch.full((3, 1, 1), 127, dtype=torch.uint8),
        )
    return np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
