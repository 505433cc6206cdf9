"""Files of annotation tools that hold all photographs of a `predict`."""

import io
from collections.abc import Sequence

from faceparse.core.annotations.coco import CocoFile
from faceparse.core.annotations.cvat import CvatFile
from faceparse.core.annotations.label_studio import LabelStudioFile, labelling_interface
from faceparse.core.annotations.tool_file import ToolFile
from faceparse.core.files.writing import write_atomic
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.prediction_ledger import Ledger
from faceparse.core.prediction.saving import FILES, Outputs

TOOL_FILES: dict[str, type[ToolFile]] = {"coco": CocoFile, "cvat": CvatFile, "labelstudio": LabelStudioFile}
"""Kind of output -> the one file of all photographs."""


def tool_describers(outputs: Outputs) -> dict[str, ToolFile]:
    """Kind of output -> a file, not opened, that can describe a photograph."""
    return {kind: TOOL_FILES[kind](io.BytesIO(), outputs.label_set) for kind in _wanted(outputs)}


def write_tool_files(outputs: Outputs, sources: Sequence[Source], ledger: Ledger) -> None:
    """Write the files of all photographs that the ledger has as done, in the order of `sources`.

    Raises:
        OutputError: a file cannot be written, or the ledger is damaged.
    """
    for kind in _wanted(outputs):
        with TOOL_FILES[kind].open(outputs.folder, outputs.label_set) as file:
            for source in sources:
                found = ledger.find(source.name, described=True)
                if found is not None and not found.problem:
                    path = source.below if kind == "cvat" else source.where
                    file.add(path, found.size, found.described[kind])
        if kind == "labelstudio":
            interface = labelling_interface(outputs.label_set.classes)
            write_atomic(outputs.folder / "labelstudio.xml", interface.encode())


def _wanted(outputs: Outputs) -> list[str]:
    """Kinds that are one file of all photographs; parts hold what they say themselves."""
    return [kind for kind in outputs.kinds if kind in TOOL_FILES and outputs.to == FILES]
