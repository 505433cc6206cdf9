"""Evaluation protocols: in which space a prediction meets the truth.

| name    | truth                                           | prediction                                       |
|---------|-------------------------------------------------|--------------------------------------------------|
| eagrnet | `labels_raw` of aligned faces, `labels` of others | inverse crop, then `project` if aligned; nearest |
| label   | `labels`                                        | inverse crop; nearest                            |
"""

from typing import Literal, NamedTuple

import numpy as np

from faceparse.core.data.dataset import Photo, check_values, prepare_photo, read_pair
from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError
from faceparse.core.files import read_label, read_matrix
from faceparse.core.geometry import Size, unwarp_label, warp_label

ProtocolName = Literal["eagrnet", "label"]
PROTOCOLS: tuple[ProtocolName, ...] = ("eagrnet", "label")


class Case(NamedTuple):
    """One photograph to be scored."""

    position: int
    """In the split's list."""
    photo: Photo
    truth: np.ndarray
    """H x W uint8 ids in the protocol's space."""
    project: np.ndarray | None
    """2 x 3, photograph -> truth's space, or None where they are the same."""


def read_case(sample: Sample, index: int, classes: int, crop: Size, protocol: ProtocolName) -> Case:
    """Everything that scoring one photograph needs from disk."""
    image, label = read_pair(sample, classes)
    photo = prepare_photo(image, crop)
    if protocol == "label" or not sample.project.is_file():
        return Case(index, photo, label, None)
    if not sample.label_raw.is_file():
        raise DatasetError(f"{sample.label_raw} is missing, but {sample.project} is there; prepare the dataset again")
    truth = read_label(sample.label_raw)
    check_values(truth, classes, str(sample.label_raw))
    return Case(index, photo, truth, read_matrix(sample.project))


def to_truth_space(prediction: np.ndarray, case: Case) -> np.ndarray:
    """Crop-sized uint8 labels -> labels of the truth's size.

    The canvas between the two steps has the photograph's size: an aligned photograph larger than the original must
    not be cut off before it is projected.
    """
    label = unwarp_label(prediction, case.photo.matrix, case.photo.size)
    if case.project is None:
        return label
    return warp_label(label, case.project, (case.truth.shape[0], case.truth.shape[1]), border=0)
