"""Terms of models, as far as they are known."""

import re

LICENCES = {
    "celebamask-hq": "CelebAMask-HQ is for non-commercial research only.",
    "lapa": "LaPa is for non-commercial research only.",
    "fasseg": "FASSEG asks for citation: Khan, Mauro, Leonardi, Multi-class semantic segmentation of faces, ICIP 2015.",
}
"""What datasets ask of models that were trained on them, as far as their pages say it; by label set."""


def is_identifier(licence: str) -> bool:
    """Whether terms are the hub's name of a licence, such as `cc-by-4.0`, and no sentence."""
    return re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence) is not None
