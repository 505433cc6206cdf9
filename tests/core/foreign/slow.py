"""The labels of photographs by a foreign file, computed slowly: ONNX Runtime on the file, and loops of NumPy."""

from pathlib import Path

import numpy as np
import onnxruntime

from faceparse.core.foreign.foreign_description import Description


def _places(out: int, inside: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours and weight of the second, for pixels of a side that is resized with its edges kept."""
    at = np.clip((np.arange(out) + 0.5) * inside / out - 0.5, 0, inside - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, inside - 1), at - low


def resize(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """... x h x w -> ... x H x W, bilinear, edges onto edges; float64."""
    top, bottom, down = _places(size[0], planes.shape[-2])
    left, right, across = _places(size[1], planes.shape[-1])
    planes = planes.astype(np.float64)
    rows = planes[..., top, :] * (1 - down)[:, None] + planes[..., bottom, :] * down[:, None]
    return rows[..., left] * (1 - across) + rows[..., right] * across


def logits_of(path: Path, description: Description, picture: np.ndarray, output: int = 0) -> np.ndarray:
    """C x H x W float64 logits of one picture of the input's size (H x W x 3 uint8 RGB), in the label set's order."""
    told = description.input
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    image = np.empty((1, 3, *told.size))
    for channel in range(3):
        plane = picture[..., 2 - channel if told.channel_order == "bgr" else channel] / 255 * told.scale
        image[0, channel] = (plane - told.mean[channel]) / told.std[channel]
    (source,) = session.get_inputs()
    kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16}[source.type]
    answer = session.run(None, {source.name: image.astype(kind)})[output][0]
    if description.output.values == "ids":
        stride = description.output.stride
        large = np.kron(answer.reshape(description.cells), np.ones((stride, stride), int))
        return np.stack([30.0 * (large == description.classes.index(name)) for name in description.label_set.names])
    ours = np.stack([answer[description.classes.index(name)] for name in description.label_set.names])
    large = resize(ours, told.size)
    return np.log(np.maximum(large, 1e-37)) if description.output.values == "probabilities" else large
