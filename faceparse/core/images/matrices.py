"""Write and read the matrices of warps."""

import io

import numpy as np

from faceparse.core.errors import (
    DatasetError,
    first_line,
)
from faceparse.core.files.packed import Stored
from faceparse.core.files.reading import read_start


def encode_matrix(matrix: np.ndarray) -> bytes:
    """Content of a .npy file with the matrix."""
    buffer = io.BytesIO()
    np.save(buffer, matrix, allow_pickle=False)
    return buffer.getvalue()


_MATRIX_BYTES = 4096
"""Largest number of bytes to read: many times the size of a file of `encode_matrix`."""


def read_matrix(path: Stored) -> np.ndarray:
    """2 x 3 float64 from a .npy file.

    Raises:
        DatasetError: the file is missing, is no .npy file with such a matrix, or has a number that is not finite.
    """
    data = read_start(path, _MATRIX_BYTES)
    try:
        matrix = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except MemoryError:
        raise DatasetError(f"{path}: promises more than it holds; prepare the dataset again") from None
    except Exception as error:  # a damaged header makes NumPy's parser raise anything
        raise DatasetError(f"{path}: not a .npy matrix ({first_line(error)}); prepare the dataset again") from None
    if matrix.dtype.kind not in "fiu":
        raise DatasetError(f"{path}: holds {matrix.dtype}, not numbers; prepare the dataset again")
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise DatasetError(f"{path}: has shape {matrix.shape}, not a finite 2 x 3 matrix; prepare the dataset again")
    return matrix.astype(np.float64)
