"""Compare the search for near-duplicates with a comparison of all pairs of whole thumbnails."""

import time

import numpy as np

from benchmarks.harness import Result, medians, speedup
from faceparse.core.checking.dedupe import Fingerprint, group_copies
from faceparse.core.checking.near_copies import COARSE, DETAIL, features

PHOTOGRAPHS, COPIES, SAMPLE = 100_000, 5_000, 5_000
"""All photographs, the near-duplicates among them, and how many the comparison of all pairs is measured on."""


def run() -> list[Result]:
    """Measure grouping; fingerprints are given."""
    thumbnails = _thumbnails()
    photographs = [
        Fingerprint(str(i), i.to_bytes(32, "big"), grey, (100, 100), len(thumbnails) - i)
        for i, grey in enumerate(thumbnails)
    ]
    started = time.perf_counter()
    groups = list(group_copies(photographs))
    ours = time.perf_counter() - started  # once: it takes a while or two
    assert sum(len(group) - 1 for group in groups) == COPIES
    (sample,) = medians(lambda: _all_pairs(thumbnails[:SAMPLE]), rounds=3)
    pairs = sample * (PHOTOGRAPHS / SAMPLE) ** 2
    what = f"dedupe: {PHOTOGRAPHS} fingerprints, against all pairs ({SAMPLE}, extrapolated)"
    return [speedup(what, ours, pairs, 5)]


def _thumbnails() -> np.ndarray:
    """Pictures whose contrast falls with the frequency, as that of photographs does; the last are near-duplicates."""
    random = np.random.default_rng(0)
    y, x = np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32), indexing="ij")
    falling = 1 / np.maximum(np.hypot(x, y), 1 / 32)
    parts = []
    for _ in range(0, PHOTOGRAPHS - COPIES, COPIES):
        waves = np.fft.ifft2(np.fft.fft2(random.normal(size=(COPIES, 32, 32))) * falling).real
        parts.append(128 + 40 * waves / waves.std(axis=(1, 2), keepdims=True))
    parts.append(0.9 * parts[0] + random.normal(0, 0.5, parts[0].shape))
    return np.clip(np.concatenate(parts), 0, 255).astype(np.uint8)


def _all_pairs(thumbnails: np.ndarray) -> int:
    coarse, detail = features(thumbnails)
    return int(np.count_nonzero((coarse @ coarse.T >= COARSE) & (detail @ detail.T >= DETAIL)))
