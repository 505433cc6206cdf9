"""The Python interface: `faceparse.load().predict(image)`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.faces.crops import Crop, crop_picture, paste, settle
from faceparse.core.faces.face import Face, Finder
from faceparse.core.faces.geometry import FaceGeometry, if_consistent
from faceparse.core.faces.own_finder import AUTO, MIN_FACE, check_min_face, choose_finder, own_finder
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.encoding import write_palette_png
from faceparse.core.images.opening import DAMAGED, must_be_small_enough
from faceparse.core.images.overlay import cut_out, overlay
from faceparse.core.images.pictures import Picture, decode_picture, from_pillow
from faceparse.core.images.polygons import polygons
from faceparse.core.images.warp import Size, unwarp_label
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import Parser, copy_to_host, load_parser
from faceparse.core.prediction.batches import batch_logits
from faceparse.core.settings import parse_input_size
from faceparse.core.text.paths import path_problem

ImageSource = np.ndarray | Image.Image | Picture | bytes | str | Path
"""H x W x 3 uint8 RGB, a PIL picture, an encoded picture's bytes, or a file."""


@dataclass(frozen=True, eq=False, repr=False)
class ParsedFace:
    """One face of a photograph, as the network saw it."""

    box: tuple[float, float, float, float]
    """x, y, width, height of the face, hairline to chin, in the photograph."""
    score: float
    """How sure the finder is of it, 0 to 1."""
    points: np.ndarray | None
    """5 x 2 (x, y) in the photograph: eyes, nose and mouth corners, in image order."""
    matrix: np.ndarray
    """2 x 3, photograph -> crop."""
    labels: np.ndarray
    """h x w uint8 class ids of the crop."""
    _answer: np.ndarray
    """C x h x w logits."""

    def __repr__(self) -> str:
        x, y, width, height = self.box
        return f"<ParsedFace at ({x:.0f}, {y:.0f}), {width:.0f} x {height:.0f}, score {self.score:.2f}>"

    @cached_property
    def probabilities(self) -> np.ndarray:
        """C x h x w float32 of the crop, over classes summing to 1."""
        return _softmax(self._answer)


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """One parsed photograph. Everything is of the photograph's own size."""

    image: np.ndarray
    """H x W x 3 uint8 RGB; ImageNet's mean colour shows through what is transparent."""
    labels: np.ndarray
    """H x W uint8 class ids; background where nothing of the photograph can be seen."""
    label_set: LabelSet
    """What the ids mean."""
    faces: tuple[ParsedFace, ...] | None
    """The faces that were found; None where the photograph was parsed as a whole."""
    owner: np.ndarray
    """H x W uint16: which face a pixel's class is of, counted from 1; 0 where there is background."""
    _picture: Picture
    _crops: Sequence[Crop]
    _answers: Sequence[np.ndarray]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        found = "parsed as a whole" if self.faces is None else f"faces: {len(self.faces)}"
        return f"<Result of {width} x {height}, {found}, classes: {', '.join(self.areas())}>"

    @property
    def notice(self) -> str:
        """What should be known of the photograph's file, such as that only the first picture of an animation was taken;
        else empty.
        """
        return self._picture.notice

    @cached_property
    def probabilities(self) -> np.ndarray:
        """C x H x W float32, over classes summing to 1; computed when first asked for, from the crops by bilinear
        interpolation. Outside all crops it is background, for sure. A model that was exported with labels as its answer
        is as sure of each as can be.
        """
        height, width = self.labels.shape
        total = np.zeros((len(self.label_set), height, width), np.float32)
        total[0] = 1
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for i in sorted(range(len(self._crops)), key=lambda i: not self._crops[i].wide):
            crop, answer = self._crops[i], self._answers[i]
            inside = unwarp_label(np.ones(answer.shape[1:], np.uint8), crop.matrix, (height, width)) != 0
            inside &= (self.owner == crop.face + 1) | (self.owner == 0)
            if self._picture.clear is not None:
                inside &= ~self._picture.clear
            for one, plane in zip(total, _softmax(answer), strict=True):
                warped = cv2.warpAffine(
                    plane, crop.matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
                )
                np.copyto(one, warped, where=inside)
        return total

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
        """H x W x 4 uint8 RGBA: the photograph, with its own transparency, where its class is one of `names`;
        transparent elsewhere. Without names: everything but the background.
        """
        return cut_out(self._picture.own, self.labels, self.label_set.resolve(names or self.label_set.names[1:]))

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

    def __init__(
        self, parser: Parser, label_set: LabelSet, geometry: FaceGeometry | None = None, *, min_face: float = MIN_FACE
    ) -> None:
        """
        Args:
            geometry: where faces lie in the training crops; needed to find faces.
            min_face: height of the smallest face that is looked for, as a share of the photograph's.
        """
        self._parser = parser
        self._geometry = if_consistent(geometry)
        self._own = own_finder(parser, self._geometry, label_set, check_min_face(min_face))
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

    def predict(self, image: ImageSource, *, faces: str | Path = AUTO) -> Result:
        """One photograph, of any size.

        Args:
            faces: `auto` parses each face that the model finds, where its training pictures were aligned, else the
                whole photograph; `none` parses the whole photograph; or the file of YuNet.

        Raises:
            DatasetError: not a readable image.
            SettingsError: `faces` is something else.
        """
        return self.predict_batch([image], faces=faces)[0]

    def predict_batch(self, images: Sequence[ImageSource], *, faces: str | Path = AUTO) -> list[Result]:
        """Several photographs in one run of the network, which is faster on a GPU; of any sizes.

        Raises:
            DatasetError, SettingsError: as `predict`.
        """
        if not images:
            return []
        chosen = choose_finder(str(faces))
        finder = self._own if chosen == "auto" else chosen
        return [self._result(picture, found) for picture, found in self._found(images, finder)]

    def _found(self, images: Sequence[ImageSource], finder: Finder | None) -> Iterator[tuple["_Cropped", list[Tensor]]]:
        pictures = []
        for source in images:
            picture = as_picture(source)
            where = str(source) if isinstance(source, str | Path) else "image"
            found = finder(where, picture.image) if finder is not None else None
            crops = crop_picture(picture.image, found, self.input_size, self._geometry)
            pictures.append(_Cropped(picture, found, crops))
        return batch_logits(self._parser, pictures, len(pictures))

    def _result(self, photo: "_Cropped", logits: list[Tensor]) -> Result:
        picture, crops = photo.picture, photo.crops
        answers = settle([copy_to_host(one)() for one in logits], crops)
        parsed = paste(answers, crops, picture.size, clear=picture.clear)
        faces = None
        if photo.faces is not None:
            aligned = [(crop, answer) for crop, answer in zip(crops, answers, strict=True) if not crop.wide]
            faces = tuple(
                ParsedFace(face.box, face.score, face.points, crop.matrix, _ids(answer), answer)
                for face, (crop, answer) in zip(photo.faces, aligned, strict=True)
            )
        return Result(picture.image, parsed.label, self.label_set, faces, parsed.owner, picture, crops, answers)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=0))
    return np.asarray(exponentials / exponentials.sum(axis=0))


def _ids(answer: np.ndarray) -> np.ndarray:
    return answer.argmax(axis=0).astype(np.uint8)


@dataclass(frozen=True)
class _Cropped:
    picture: Picture
    faces: list[Face] | None
    crops: list[Crop]


def load(
    source: str | Path = "celebamask-hq-light",
    *,
    device: str = "auto",
    input_size: Size | None = None,
    min_face: float = MIN_FACE,
    trust: bool = False,
) -> FaceParser:
    """A trained model: the one that comes with faceparse, or any other by its name.

    Args:
        source: the name of a shipped model; the path of a checkpoint (of faceparse, or of the released code), an
            exported file or a bundle; hf:ORG/NAME or hf:ORG/NAME@REVISION of the Hugging Face hub;
            https://HOST/FILE#sha256=HEX; models:/NAME/VERSION or models:/NAME@ALIAS of MLflow's registry.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        input_size: height and width of the crop, in place of the model's own; exported files of one size take no other.
        min_face: height of the smallest face that is looked for, hairline to chin, as a share of the photograph's.
        trust: whether a TorchScript file or a .pt2 program may be loaded, which can do whatever its author wrote.

    Raises:
        CheckpointError: there is no model, it is damaged, not trusted, or it cannot be fetched.
        TrackingError: MLflow cannot be reached.
        OutputError: the cache of downloads cannot be written.
        DeviceError: the device is not there.
        SettingsError: an input size that no network takes.
    """
    if input_size is not None:
        input_size = parse_input_size(input_size)
    model = load_model_from(source, trust=trust)
    parser = load_parser(model, model.device(device), input_size)
    return FaceParser(parser, model.label_set, model.geometry, min_face=min_face)


def as_picture(source: ImageSource) -> Picture:
    """The photograph, whichever way it was given.

    Raises:
        DatasetError: not a readable image, an array of another shape or type, or more pixels than `MAX_PIXELS`.
        ResourceError: nothing is installed that reads its format.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return Picture(_checked(source))
    if isinstance(source, Image.Image):
        try:
            return from_pillow(source, "image")
        except DAMAGED as error:
            raise DatasetError(f"image: not a readable image ({error}); replace the file") from None
    if isinstance(source, bytes):
        return decode_picture(source, "image")
    if isinstance(source, str | Path):
        if problem := path_problem(source):  # of the text: an empty one is a folder as a path
            raise DatasetError(f"image: {problem}")
        return decode_picture(read_bytes(Path(source)), str(source))
    raise DatasetError(f"image: a {type(source).__name__}; give an array, a PIL picture, bytes, or a file's path")


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise DatasetError(
            f"image: an array of {array.dtype} and shape {array.shape}; give H x W x 3 uint8 in RGB order"
        )
    must_be_small_enough(array.shape[0] * array.shape[1], "image")
    return array
