"""The Python interface: `faceparse.load(path).predict(image)`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.evaluation.pictures import cut_out, overlay
from faceparse.core.files import decode_photograph, must_be_small_enough, read_bytes, write_palette_png
from faceparse.core.geometry import Size, unwarp_label
from faceparse.core.inference import Parser, classes_of, load_parser
from faceparse.core.labels import LabelSet
from faceparse.core.load import load_model_from
from faceparse.core.polygons import polygons
from faceparse.core.preprocessing import Photo, prepare_photo
from faceparse.core.settings import parse_input_size

ImageSource = np.ndarray | Image.Image | bytes | str | Path
"""H x W x 3 uint8 RGB, a PIL picture, an encoded picture's bytes, or a file."""


@dataclass(frozen=True, eq=False)
class Result:
    """One parsed photograph. Everything is of the photograph's own size."""

    image: np.ndarray
    """H x W x 3 uint8 RGB."""
    labels: np.ndarray
    """H x W uint8 class ids."""
    label_set: LabelSet
    """What the ids mean."""
    _logits: Tensor
    """C x h x w, of the crop that the network saw."""
    _photo: Photo

    @cached_property
    def probabilities(self) -> np.ndarray:
        """C x H x W float32, over classes summing to 1; computed when first asked for. Made of the crop's by bilinear
        interpolation, so that along a border the largest need not be the pixel's label. A model that was exported with
        labels as its answer is as sure of each as can be.
        """
        crop = self._logits.softmax(dim=0).cpu().numpy()
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        height, width = self.labels.shape
        planes = [
            cv2.warpAffine(plane, self._photo.matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for plane in crop
        ]
        return np.stack(planes)

    def mask(self, *names: str) -> np.ndarray:
        """H x W bool: where the class is one of `names`, classes or merged scores such as `mouth`.

        Raises:
            SettingsError: the label set has no such class.
        """
        return np.isin(self.labels, list(self.label_set.resolve(names)))

    def polygons(self) -> dict[str, list[np.ndarray]]:
        """Class name -> its rings, for the classes that are there, less the background. A ring is K x 2 int32 (x, y) in
        pixel corners; a point lies in the class where an odd number of rings surround it (so holes are rings, too).
        """
        present = [name for name in self.areas() if name != self.label_set.names[0]]
        return {name: polygons(self.mask(name)) for name in present}

    def areas(self) -> dict[str, int]:
        """Class name -> number of pixels, for the classes that are there."""
        return self.label_set.areas(self.labels)

    def overlay(self, *, opacity: float = 0.55) -> np.ndarray:
        """H x W x 3 uint8 RGB: the classes in their colours over the photograph, the background left as it is.

        Raises:
            SettingsError: the opacity is not from 0 to 1.
        """
        if not 0 <= opacity <= 1:
            raise SettingsError(f"opacity = {opacity}: give 0 (the photograph) to 1 (the classes)")
        return overlay(self.image, self.labels, self.label_set.palette(), opacity=opacity)

    def cut_out(self, *names: str) -> np.ndarray:
        """H x W x 4 uint8 RGBA: the photograph where its class is one of `names`, transparent elsewhere. Without names:
        everything but the background.
        """
        return cut_out(self.image, self.labels, self.label_set.resolve(names or self.label_set.names[1:]))

    def save(self, path: str | Path) -> None:
        """Write the labels as an indexed PNG: ids for programs, colours for eyes.

        Raises:
            SettingsError: the name is not that of a PNG; other kinds of picture would change ids.
            OutputError: it cannot be written.
        """
        if Path(path).suffix.lower() != ".png":
            raise SettingsError(f"{path}: labels are saved as PNG; let the name end in .png")
        write_palette_png(Path(path), self.labels, self.label_set.palette())


class FaceParser:
    """A trained model, ready for photographs of any size."""

    label_set: LabelSet
    """What the ids mean."""

    def __init__(self, parser: Parser, label_set: LabelSet) -> None:
        self._parser = parser
        self.label_set = label_set

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; the position is the id."""
        return self.label_set.names

    @property
    def input_size(self) -> Size:
        """Height and width of the crop that the network sees; the whole photograph is scaled into it."""
        return self._parser.input_size

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._parser.device

    def predict(self, image: ImageSource) -> Result:
        """One photograph, of any size.

        Raises:
            DatasetError: not a readable image.
        """
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[ImageSource]) -> list[Result]:
        """Several photographs in one run of the network, which is faster on a GPU; of any sizes.

        Raises:
            DatasetError: one is not a readable image.
        """
        if not images:
            return []
        pictures = [as_image(image) for image in images]
        photos = [prepare_photo(picture, self.input_size) for picture in pictures]
        logits = self._parser.logits(torch.from_numpy(np.stack([photo.crop for photo in photos])))
        return [
            Result(picture, unwarp_label(label, photo.matrix, photo.size), self.label_set, one, photo)
            for picture, photo, one, label in zip(pictures, photos, logits, classes_of(logits), strict=True)
        ]


def load(source: str | Path, *, device: str = "auto", input_size: Size | None = None) -> FaceParser:
    """A trained model from a checkpoint (of faceparse, or of the released code), an exported file or a bundle, or
    from MLflow's registry.

    Args:
        source: a path, or models:/NAME/VERSION or models:/NAME@ALIAS.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        input_size: height and width of the crop, in place of the model's own; exported files of one size take no other.

    Raises:
        CheckpointError: there is no model, or it is damaged.
        TrackingError: MLflow cannot be reached.
        DeviceError: the device is not there.
        SettingsError: an input size that no network takes.
    """
    if input_size is not None:
        input_size = parse_input_size(input_size)
    model = load_model_from(source)
    return FaceParser(load_parser(model, model.device(device), input_size), model.label_set)


def as_image(source: ImageSource) -> np.ndarray:
    """H x W x 3 uint8 RGB.

    Raises:
        DatasetError: not a readable image, an array of another shape or type, or more pixels than `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray):
        return _checked(source)
    if isinstance(source, Image.Image):
        must_be_small_enough(source.width * source.height, "image")
        return np.asarray(ImageOps.exif_transpose(source).convert("RGB"))
    if isinstance(source, bytes):
        return decode_photograph(source, "image")
    if isinstance(source, str | Path):
        return decode_photograph(read_bytes(Path(source)), str(source))
    raise DatasetError(f"image: a {type(source).__name__}; give an array, a PIL picture, bytes, or a file's path")


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise DatasetError(
            f"image: an array of {array.dtype} and shape {array.shape}; give H x W x 3 uint8 in RGB order"
        )
    must_be_small_enough(array.shape[0] * array.shape[1], "image")
    return array
