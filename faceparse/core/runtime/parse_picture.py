"""Parse one photograph with an exported ONNX file: find its faces, crop, parse, and put the answers together."""

import numpy as np

from faceparse.core.faces.crops import PictureLabels, crop_picture, paste, settle
from faceparse.core.faces.face import Face, Finder
from faceparse.core.runtime.onnx_model import OnnxModel


def parse_picture(
    model: OnnxModel, finder: Finder | None, image: np.ndarray, where: str, *, clear: np.ndarray | None = None
) -> tuple[PictureLabels, list[Face] | None]:
    """Labels of an H x W x 3 uint8 RGB photograph, and its faces; None for them where it is parsed as a whole.

    Crops go through the network one at a time, so that memory is bounded.

    Args:
        finder: finds the faces; None parses the whole photograph.
        where: name of the photograph in errors.
        clear: as in `paste`.
    """
    faces = None if finder is None else finder(where, image)
    crops = crop_picture(image, faces, model.input_size, model.geometry, model.fit)
    answers = settle([model.logits(crop.image[None])[0] for crop in crops], crops)
    return paste(answers, crops, (image.shape[0], image.shape[1]), clear=clear), faces
