"""Measure where the parts of a face lie in a crop, by the network's probabilities."""

from collections.abc import Sequence

import numpy as np

from faceparse.core.faces.geometry import EYES, PARTS

AROUND = 0.12
"""Distance around its expected place in which a part is searched, as a share of the crop's side."""
MIN_EVIDENCE = 0.15
"""Least evidence of a face's third part: two parts alone are no face."""
SURE = 0.1
"""Evidence at which a part's place comes half from what is seen, half from the rest of the face."""
GLASSES = 0.5
"""Factor from the evidence of glasses to that of an eye that they hide."""
ENOUGH = 0.3
"""Share of a part's usual area from which on its evidence is not lowered."""
LEAST_SCALE = 0.3
"""Least scale of the similarity between a crop and the face in it."""
DISTANCE = 4.0
"""How much the remaining distance of the parts lowers the score."""
LENGTH = 1.85
"""Half a mouth's length in standard deviations of its pixels. Measured on `val`; a bar has 1.73, an ellipse 2."""


def measure(
    maps: np.ndarray, side: int, template: np.ndarray, areas: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure the parts in M x 4 x h x w maps, or M x 5 with glasses.

    A part is searched around its expected place, so that a neighbour's eye does not count. Evidence is the mean
    probability of the part's pixels, lower where they are far fewer than in the training pictures. Glasses stand for
    hidden eyes.

    Returns:
        Complex centres (M x 4, in shares of the side), evidence (M x 4, 0 to 1), and evidence without glasses (M x 4).
    """
    places = _places(maps, side)
    centres, own = _looked_for(maps[:, : len(PARTS)], places, template, np.array(areas))
    evidence = own.copy()
    if maps.shape[1] > len(PARTS):
        eyes = slice(len(EYES))
        glasses = np.repeat(maps[:, len(PARTS) :], len(EYES), axis=1)
        there, sure = _looked_for(glasses, places, template[eyes], np.array(areas)[eyes])
        hidden = GLASSES * sure > own[:, eyes]
        centres[:, eyes] = np.where(hidden, there, centres[:, eyes])
        evidence[:, eyes] = np.where(hidden, GLASSES * sure, own[:, eyes])
    return centres, evidence, own


def _looked_for(
    maps: np.ndarray, places: np.ndarray, expected: np.ndarray, areas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and evidence (M x P) of P parts, searched around P places."""
    weighed = maps * _near(places, expected)
    mass = weighed.sum(axis=(2, 3))
    total = np.maximum(mass, 1e-9)
    centres = (weighed * places).sum(axis=(2, 3)) / total
    sure = (weighed * maps).sum(axis=(2, 3)) / total
    enough = np.minimum(1.0, mass / (maps.shape[2] * maps.shape[3]) / (ENOUGH * areas))
    return centres, sure * enough


def fit(template: np.ndarray, centres: np.ndarray, evidence: np.ndarray) -> tuple[tuple[complex, complex], float]:
    """Similarity (a, b) that moves the template nearest to the centres, weighted by evidence, and its score.

    The score is the mean evidence of the best three parts, minus `DISTANCE` times the weighted distance (root mean
    square) that remains.
    """
    weights = evidence**2 + 1e-6
    weights = weights / weights.sum()
    mean_t, mean_c = (weights * template).sum(), (weights * centres).sum()
    t, c = template - mean_t, centres - mean_c
    a = (weights * t.conj() * c).sum() / (weights * abs(t) ** 2).sum()
    b = mean_c - a * mean_t
    left = np.sqrt((weights * abs(a * template + b - centres) ** 2).sum())
    third, *_ = best = np.sort(evidence)[1:]
    score = best.mean() - DISTANCE * left
    if third < MIN_EVIDENCE or abs(a) < LEAST_SCALE or abs(np.angle(a)) > np.pi / 2:
        return (1 + 0j, 0j), 0.0
    return (complex(a), complex(b)), float(score)


def five_points(
    maps: np.ndarray, side: int, centres: np.ndarray, evidence: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Complex places of the five `POINTS` of one face, in shares of the side.

    Places are as seen, and as expected where little is seen.

    Args:
        maps: 4 x h x w, or 5 x h x w.
        centres: 4, from `measure`.
        evidence: 4, without glasses: nobody sees where an eye is behind them.
        expected: 5, the places in a face that lies as this one does.
    """
    places = _places(maps, side)
    # Around the seen centres: expected places would draw the result to themselves.
    weighed = maps[: len(PARTS)] * _near(places, centres)
    total = np.maximum(weighed.sum(axis=(1, 2)), 1e-9)
    seen = (weighed * places).sum(axis=(1, 2)) / total
    sure = evidence**2 / (evidence**2 + SURE**2)
    left, right, nose = sure[:3] * seen[:3] + (1 - sure[:3]) * expected[:3]
    axis = (right - left) / max(abs(right - left), 1e-9)
    mouth = maps[3] * (abs(places - seen[3]) < 2 * AROUND)
    off = (places - seen[3]) * axis.conjugate()  # real: along the line of the eyes; imaginary: down from it
    half = LENGTH * np.sqrt((mouth * off.real**2).sum() / max(float(mouth.sum()), 1e-9))
    # Fit a parabola to the mouth's pixels: the ends of a smile lie above its middle.
    powers = np.stack([np.ones_like(off.real), off.real, off.real**2])
    moments = np.einsum("ihw,jhw,hw->ij", powers, powers, mouth) + 1e-9 * np.eye(3)
    middle, slope, bend = np.linalg.solve(moments, np.einsum("ihw,hw,hw->i", powers, off.imag, mouth))
    along = np.array([-half, half])
    ends = seen[3] + (along + 1j * (middle + slope * along + bend * along**2)) * axis
    corners = sure[3] * ends + (1 - sure[3]) * expected[3:]
    return np.array([left, right, nose, *corners])


def _places(maps: np.ndarray, side: int) -> np.ndarray:
    """Places of the maps' cells, in shares of the crop's side. Complex, h x w."""
    height, width = maps.shape[-2:]
    shares = ((np.arange(width) + 0.5) * side / width - 0.5) / (side - 1)
    return np.asarray(shares[None] + 1j * shares[:height, None])


def _near(places: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Weights around P centres, P x h x w: 1 at the centre, falling with the distance."""
    return np.asarray(np.exp(-(abs(places - centres[:, None, None]) ** 2) / (2 * AROUND**2)))
