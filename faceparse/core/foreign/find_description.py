"""Finds the description of a foreign file: as it was named, else by the file's checksum. Writes one to fill in."""

from pathlib import Path

from faceparse.core.errors import CheckpointError, SettingsError
from faceparse.core.foreign.foreign_description import Description, known_descriptions, read_description
from faceparse.core.foreign.foreign_file import ForeignFile
from faceparse.core.labels.label_set import builtin_label_sets

_TEMPLATE = """\
# What faceparse has to know of {file}. Replace every "?".
name = "{stem}"
# source = "https://..."  # where it is from
# licence = "mit"         # a name, or a sentence
label_set = "?"  # {label_sets}; or a TOML file
classes = ["?"]  # all names of the label set, in the order of the output's {channels} channels

[input]
name = "{input}"
size = {size}  # height, width
fit = "?"  # stretch: each side by itself; crop: aspect kept, on black
channel_order = "?"  # rgb or bgr
scale = "?"  # what white is before mean and std: 1 or 255
mean = ["?", "?", "?"]  # in the channels' order, on that scale
std = ["?", "?", "?"]

[output]
name = "{output}"  # {outputs}
values = "?"  # logits, probabilities or ids
stride = "?"  # pixels of the input along a side of a cell: 4 where the output has a quarter of the size
"""


def find_description(file: ForeignFile, named: str | None) -> tuple[Description, str]:
    """The description of a file, and a note for users, which is empty where there is nothing to say.

    Args:
        named: name of a known network or path of a TOML file; None finds it by the file's checksum.

    Raises:
        SettingsError: there is no such description, or it is wrong.
        CheckpointError: nothing is named, and the file is not known.
    """
    known = known_descriptions()
    if named is not None and named not in known:
        return read_description(Path(named)), ""
    if named is not None:
        if any(one.sha256 == file.sha256 for one in known[named].files):
            return known[named], ""
        note = (
            f"{file.path}: no file that {named} is known to be right for; the card names no origin and no licence of "
            f"its own, only the terms of {known[named].label_set.name}'s photographs"
        )
        return known[named].model_copy(update={"source": None, "licence": None}), note
    for description in known.values():
        if any(one.sha256 == file.sha256 for one in description.files):
            return description, ""
    for name, description in known.items():
        for one in description.files:
            if one.name == file.path.name:
                raise CheckpointError(
                    f"{file.path}: has the name of a known file ({name}), but other bytes ({file.size} with SHA-256 "
                    f"{file.sha256[:12]}..., not {one.bytes} with {one.sha256[:12]}...); copy it again, or say "
                    f"--describe {name} if it is such a network all the same"
                )
    raise CheckpointError(
        f"{file.path}: nothing says what its input and its classes are; 'faceparse import {file.path.name} "
        "--describe-template' prints a description to fill in, for --describe FILE.toml "
        f"(known by name: {', '.join(known)})"
    )


def description_template(file: ForeignFile) -> str:
    """A description with what the file itself says, to be filled in by people.

    Raises:
        SettingsError: the file's names do not fit into TOML as they are.
    """
    weights = {tensor.name for tensor in file.model.graph.initializer}
    inputs = [one for one in file.model.graph.input if one.name not in weights]
    outputs = [one.name for one in file.model.graph.output]
    if not inputs or not all(_plain(name) for name in (*outputs, inputs[0].name)):
        raise SettingsError(f"{file.path}: its inputs and outputs have no plain names; export it with other names")
    sides = [dim.dim_value or "?" for dim in inputs[0].type.tensor_type.shape.dim[2:4]]
    channels = [dim.dim_value for dim in file.model.graph.output[0].type.tensor_type.shape.dim[1:2]]
    return _TEMPLATE.format(
        file=file.path.name,
        stem=file.path.stem.replace('"', "").replace("\\", ""),
        label_sets=", ".join(builtin_label_sets()),
        channels=channels[0] if channels and channels[0] else "C",
        input=inputs[0].name,
        size="[" + ", ".join(f'"{side}"' if side == "?" else str(side) for side in sides or ("?", "?")) + "]",
        output=outputs[0],
        outputs=f"the file has {', '.join(outputs)}",
    )


def _plain(name: str) -> bool:
    return name.isprintable() and not set(name) & set('"\\')
