"""The page, and the policy that lets it run only its own script."""

import base64
import hashlib
import re

from faceparse.core.api import FaceParser
from faceparse.core.pages.html import render
from faceparse.core.web.uploads import MAX_BYTES


def web_page(parser: FaceParser, name: str) -> str:
    """HTML of the page, complete in itself. `name` is shown as the model's name."""
    classes = [{"name": class_, "colour": colour} for class_, colour in parser.label_set.classes.items()]
    height, width = parser.input_size
    return render(
        "web.html",
        title="faceparse",
        model={"name": name, "classes": classes, "maxBytes": MAX_BYTES},
        facts={
            "model": name,
            "classes": f"{len(parser.names)} of {parser.label_set.name}",
            "input": f"{height} x {width}",
            "device": str(parser.device),
        },
        megabytes=MAX_BYTES // 10**6,
    )


def content_security_policy(page: str) -> str:
    """Policy of a page: only its own script and style load, known by their hashes; it may ask its own server only."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(page, 'script')}",
            f"style-src {_hash(page, 'style')}",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _hash(page: str, tag: str) -> str:
    found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert found is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
