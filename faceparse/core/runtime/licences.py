"""Terms of models, where they are known."""

import re

LICENCES = {
    "celebamask-hq": "CelebAMask-HQ is for non-commercial research only.",
    "lapa": "LaPa is for non-commercial research only.",
    "fasseg": "FASSEG asks for citation: Khan, Mauro, Leonardi, Multi-class semantic segmentation of faces, ICIP 2015.",
}
"""Label set -> terms of its dataset for trained models, as the dataset's page gives them."""


def is_identifier(licence: str) -> bool:
    """Whether the terms are the hub's name of a licence, such as `cc-by-4.0`, and not a sentence."""
    return re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence) is not None
