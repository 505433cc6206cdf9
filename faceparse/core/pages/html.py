"""HTML pages that are complete in themselves: no network, pictures inside.

Only the pages of `faceparse web` and the leaderboard have a script.
"""

import base64
from functools import cache

import cv2
import jinja2
import numpy as np

from faceparse.core.images.encoding import encode_jpeg


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("faceparse.core.pages", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: object) -> str:
    """Page from a template in `templates/`. All text is escaped."""
    return _templates().get_template(template).render(values)


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """Picture with its longer side at most `side` pixels. H x W x 3 uint8."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def data_uri(picture: np.ndarray, side: int) -> str:
    """URI of a picture as a JPEG inside the page, shrunk to `side`. H x W x 3 uint8 RGB."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(shrink(picture, side), quality=85)).decode()
