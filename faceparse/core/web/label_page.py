"""The page that labels photographs."""

from faceparse.core.api import FaceParser
from faceparse.core.labels.classes import IGNORE
from faceparse.core.pages.html import render

LETTERS = "qwrtyuoadjklxcv"
"""Keys of the classes from id 10 on; below, the digit is the id. The other letters are commands."""
IGNORE_KEY = "i"


def label_page(parser: FaceParser, name: str) -> str:
    """HTML of the page, complete in itself. `name` is shown as the model's name."""
    classes = [
        {"id": i, "name": class_, "colour": colour, "key": class_key(i)}
        for i, (class_, colour) in enumerate(parser.label_set.classes.items())
    ]
    ignored = {"id": IGNORE, "name": "ignored", "colour": "#ffffff", "key": IGNORE_KEY}
    return render(
        "label.html",
        title="faceparse",
        model={"classes": [*classes, ignored], "ignored": IGNORE},
        facts={"model": name, "classes": f"{len(parser.names)} of {parser.label_set.name}"},
    )


def class_key(i: int) -> str:
    """Key that chooses the class `i`; empty where there are more classes than keys."""
    if i < 10:
        return str(i)
    return LETTERS[i - 10] if i - 10 < len(LETTERS) else ""
