"""Finds the output that holds the parsing, and says what is wrong with one that does not."""

from collections.abc import Mapping

import numpy as np

from faceparse.core.errors import CheckpointError
from faceparse.core.foreign.foreign_description import Description

_SUM = 1e-2
"""Largest distance from 1 of the sum of a pixel's probabilities."""


def choose_output(where: object, description: Description, answers: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """Name of the described output, and a note for users, which is empty where there is nothing to say.

    Args:
        where: name of the file in errors.
        answers: output -> its numbers for one picture, in the order of the file.

    Raises:
        CheckpointError: there is no such output, or it does not hold what is described. The line names the one that
            does.
    """
    names, wanted = list(answers), description.output
    fitting = fitting_outputs(description, answers)
    instead = f"; {fitting[0]!r} fits, name it under [output]" if fitting else ""
    if wanted.name is not None and wanted.name not in names:
        listed = ", ".join(names)[:200]
        raise CheckpointError(f"{where}: has no output {wanted.name!r}; its outputs: {listed}{instead}")
    if wanted.position is not None and wanted.position > len(names):
        raise CheckpointError(f"{where}: has {len(names)} outputs, none at position {wanted.position}{instead}")
    name = wanted.name or names[(wanted.position or 1) - 1]
    if problem := _problem(description, answers[name]):
        raise CheckpointError(f"{where}: its output {name!r} {problem}{instead}")
    if name != fitting[0]:
        return name, (
            f"output {name!r} is taken, but {fitting[0]!r} fits, too, and stands before it: "
            "auxiliary heads of training mostly follow the answer itself"
        )
    return name, ""


def fitting_outputs(description: Description, answers: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the outputs that hold what is described, in the order of the file."""
    return [name for name, answer in answers.items() if not _problem(description, answer)]


def _problem(description: Description, answer: np.ndarray) -> str:
    """The part of the answer to one picture that is not as described; empty where all is."""
    classes, values = len(description.classes), description.output.values
    height, width = description.cells
    shape, shown = answer.shape, " x ".join(map(str, answer.shape))
    whole = np.issubdtype(answer.dtype, np.integer)
    if values == "ids":
        if not whole:
            return f"is of {answer.dtype}, where ids are whole numbers (output.values)"
        if shape not in ((1, height, width), (1, 1, height, width)):
            fits = _fitting_stride(description, shape[-2:]) if shape[:-2] in ((1,), (1, 1)) else ""
            return f"is {shown}, where ids of stride {description.output.stride} are 1 x {height} x {width}{fits}"
        if answer.min() < 0 or answer.max() >= classes:
            bad = int(answer.max() if answer.max() >= classes else answer.min())
            return f"gives the id {bad}, where {classes} classes are described (classes)"
        return ""
    if not np.issubdtype(answer.dtype, np.floating):
        return f"is of {answer.dtype}, where {values} are floats" + ("; are they ids? (output.values)" if whole else "")
    if len(shape) == 4 and shape[1] != classes and shape[2:] == (height, width):
        return f"has {shape[1]} channels, where {classes} classes are described (classes)"
    if shape != (1, classes, height, width):
        return (
            f"is {shown}, where {classes} classes at stride {description.output.stride} are "
            f"1 x {classes} x {height} x {width}"
            f"{_fitting_stride(description, shape[2:]) if shape[:2] == (1, classes) else ''}"
        )
    if not np.isfinite(answer).all():
        return "holds what is no number (nan or inf)"
    low, high = float(answer.min()), float(answer.max())
    likely = low >= 0 and high <= 1
    if values == "probabilities" and not likely:
        return f"has numbers from {low:.3g} to {high:.3g}, which are no probabilities (output.values)"
    if values == "logits" and likely and np.abs(answer.sum(axis=1, dtype=np.float64) - 1).max() < _SUM:
        return 'sums to 1 over the classes: these are probabilities (output.values = "probabilities")'
    return ""


def _fitting_stride(description: Description, sides: tuple[int, ...]) -> str:
    """Advice that names the stride of an output of these sides; empty where no whole stride gives them."""
    pairs = zip(description.input.size, sides, strict=True)
    strides = {whole // side if side and whole % side == 0 else 0 for whole, side in pairs}
    stride = strides.pop()
    return f" (stride = {stride} fits)" if stride and not strides else ""
