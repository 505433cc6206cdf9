"""Choose a command's model: the one that was typed, or the one that comes with the package."""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.options import TRAINED

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help=f"{TRAINED} Default: celebamask-hq-light."),
]
"""The option `--model`; see `chosen_model`."""


def chosen_model(option: str | None, word: str | None) -> str:
    """Return `--model`, else the word that names a model, else the shipped model's name.

    Raises:
        SettingsError: both were typed.
    """
    from faceparse.core.errors import SettingsError
    from faceparse.core.names.shipped import DEFAULT

    if option is not None and word is not None:
        raise SettingsError(f"--model {option} and {word}: name one model")
    return option or word or DEFAULT


def split_model(option: str | None, words: list[str]) -> tuple[str, list[str]]:
    """Return the model's name and the other words; the first of `words` may name the model.

    Raises:
        SettingsError: two models were typed, or the first word is nearly the name of a shipped model.
    """
    from faceparse.core.errors import SettingsError
    from faceparse.core.labels.label_set import nearest
    from faceparse.core.names.find import names_model
    from faceparse.core.names.shipped import shipped_models

    if words and names_model(words[0]):
        return chosen_model(option, words[0]), words[1:]
    bare = [word for word in words[:1] if word.replace("-", "").isalnum() and not Path(word).exists()]
    if close := "".join(nearest(word, shipped_models()) for word in bare):
        raise SettingsError(f"{words[0]}: no such photograph, video or folder, and no model{close}")
    return chosen_model(option, None), words


def tell_terms(name: str | None) -> None:
    """Print the terms of a shipped model, once per machine; print nothing for other models."""
    from faceparse.commands.console import err
    from faceparse.core.names.shipped import notice_of

    if notice := notice_of(name):
        err.print(notice)
