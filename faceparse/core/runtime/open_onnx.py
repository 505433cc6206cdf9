"""Open an ONNX file of any origin: its metadata and its graph are checked as a whole."""

from pathlib import Path

from faceparse.core.faces.geometry import if_consistent
from faceparse.core.images.warp import Size
from faceparse.core.runtime.metadata import read_metadata_of
from faceparse.core.runtime.onnx_model import OnnxModel, check_graph, check_size, metadata_of, open_session


def open_onnx(path: Path, input_size: Size | None = None) -> OnnxModel:
    """Open an exported ONNX file, and check its metadata and its graph.

    Args:
        input_size: replaces the file's own size.

    Raises:
        CheckpointError: not an ONNX file that `faceparse export` wrote, or it does not take this input size.
    """
    session = open_session(path)
    metadata = read_metadata_of(path, metadata_of(session, path))
    own = metadata.input_size
    size = input_size or own
    check_size(path, metadata.sizes, own, size)
    check_graph(session, path, metadata.kind, len(metadata.label_set))
    return OnnxModel(
        label_set=metadata.label_set,
        geometry=if_consistent(metadata.geometry),
        kind=metadata.kind,
        input_size=size,
        sizes=metadata.sizes,
        fit=metadata.fit,
        _batch=metadata.largest_batch,
        _where=path,
        _input=metadata.settings.data,
        _session=session,
    )
