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
from faceparse.core.faces.choose_finder import AUTO, check_min_face, choose_finder
from faceparse.core.faces.crops import Crop, crop_picture, paste, settle
from faceparse.core.faces.face import Face, Finder
from faceparse.core.faces.geometry import FaceGeometry, if_consistent
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.faces.own_finder import MIN_FACE, own_finder
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.opening import DAMAGED, must_be_small_enough
from faceparse.core.images.overlay import class_mask, cut_out, overlay, with_transparency
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.polygons import polygons
from faceparse.core.images.read_photograph import Picture, decode_picture, from_pillow
from faceparse.core.images.warp import Size, unwarp_label
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import Parser, copy_to_host, load_parser
from faceparse.core.parser.mapped import in_classes
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.prediction.batches import batch_logits
from faceparse.core.prediction.uncertainty import mean_entropy
from faceparse.core.settings import parse_input_size
from faceparse.core.text.arguments import named_as_in_python
from faceparse.core.text.paths import path_problem

ImageSource = np.ndarray | Image.Image | Picture | bytes | str | Path
"""A photograph: H x W x 3 uint8 RGB, a PIL picture, a decoded `Picture`, an encoded picture's bytes, or a file."""


@dataclass(frozen=True, eq=False, repr=False)
class ParsedFace:
    """One face of a photograph, as the network saw it."""

    box: tuple[float, float, float, float]
    """The face in the photograph, hairline to chin: x, y, width, height."""
    score: float
    """How sure the finder is of this face, 0 to 1."""
    points: np.ndarray | None
    """Eyes, nose and mouth corners in the photograph, in image order: 5 x 2 (x, y). None where the finder has none."""
    matrix: np.ndarray
    """Matrix photograph -> crop, 2 x 3."""
    labels: np.ndarray
    """Class ids of the crop, h x w uint8."""
    _answer: np.ndarray
    """Logits of the crop, C x h x w."""

    def __repr__(self) -> str:
        x, y, width, height = self.box
        return f"<ParsedFace at ({x:.0f}, {y:.0f}), {width:.0f} x {height:.0f}, score {self.score:.2f}>"

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities of the crop, C x h x w float32; they sum to 1 over the classes."""
        return softmax(self._answer)


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """One parsed photograph. Its arrays have the photograph's own size."""

    image: np.ndarray
    """The photograph, H x W x 3 uint8 RGB. Transparent pixels have ImageNet's mean colour."""
    labels: np.ndarray
    """Class ids, H x W uint8; background where nothing of the photograph can be seen."""
    label_set: LabelSet
    """Names, colours and order of the classes."""
    faces: tuple[ParsedFace, ...] | None
    """The faces that were found; None where the photograph was parsed as a whole."""
    owner: np.ndarray
    """Number of the face that a pixel's class belongs to, counted from 1; 0 on background. H x W uint16."""
    _picture: Picture
    _crops: Sequence[Crop]
    _answers: Sequence[np.ndarray]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        found = "parsed as a whole" if self.faces is None else f"faces: {len(self.faces)}"
        return f"<Result of {width} x {height}, {found}, classes: {', '.join(self.areas())}>"

    @property
    def notice(self) -> str:
        """Note on the photograph's file, such as that only an animation's first picture was used; empty if none."""
        return self._picture.notice

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Class probabilities, C x H x W float32; they sum to 1 over the classes.

        Computed on first use, from the crops by bilinear interpolation. Outside all crops, background has probability
        1. For a model that was exported with labels as its output, the label's probability is practically 1.
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
            for one, plane in zip(total, softmax(answer), strict=True):
                warped = cv2.warpAffine(
                    plane, crop.matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
                )
                np.copyto(one, warped, where=inside)
        return total

    @cached_property
    def uncertainty(self) -> float:
        """Mean entropy of the class probabilities as a share of the largest possible: 0 (sure) to 1.

        The mean is over the pixels of the network's crops that are not background. A photograph in which the model sees
        nothing but background is as uncertain as can be. `faceparse uncertain` adds how much the mirror image changes,
        which takes the network a second time.
        """
        pairs = zip(self._crops, self._answers, strict=True)
        entropy = mean_entropy([answer for crop, answer in pairs if not crop.wide])
        return 1.0 if entropy is None else entropy

    def mask(self, *names: str) -> np.ndarray:
        """Mask of some classes, H x W bool. `names` are classes or merged names such as `mouth`.

            hair = result.mask("hair")

        Raises:
            SettingsError: the label set has no such class.
        """
        return np.isin(self.labels, list(self.label_set.resolve(names)))

    def polygons(self) -> dict[str, list[np.ndarray]]:
        """Rings of each class by its name, for the classes that are there, without the background.

        A ring is K x 2 int32 (x, y) in pixel corners. A point lies in the class where an odd number of rings surround
        it, so holes are rings, too.
        """
        present = [name for name in self.areas() if name != self.label_set.names[0]]
        return {name: polygons(self.mask(name)) for name in present}

    def areas(self) -> dict[str, int]:
        """Number of pixels of each class by its name, for the classes that are there."""
        return self.label_set.areas(self.labels)

    def overlay(self, *, opacity: float = 0.55) -> np.ndarray:
        """Picture of the classes in their colours over the photograph, H x W x 3 uint8 RGB; background is unchanged.

        Raises:
            SettingsError: the opacity is not from 0 to 1.
        """
        if not 0 <= opacity <= 1:
            raise SettingsError(f"opacity = {opacity}: give 0 (the photograph) to 1 (the classes)")
        return overlay(self.image, self.labels, self.label_set.palette(), opacity=opacity)

    def cut_out(self, *names: str) -> np.ndarray:
        """Photograph where its class is one of `names`, transparent elsewhere: H x W x 4 uint8 RGBA.

        Pixels that are kept keep their own transparency. Without names, everything but the background is kept.

            Image.fromarray(result.cut_out("hair", "skin")).save("face.png")
        """
        return cut_out(self._picture.own, class_mask(self.labels, self._kept(names)))

    def alpha(self, *names: str) -> np.ndarray:
        """Soft mask of some classes, H x W uint8 from 0 (outside) to 255 (inside), with edges to cut along.

        A guided filter makes the edges of the network's probabilities follow those of the photograph. Without names,
        everything but the background is inside. Pixels keep their own transparency.

            photo = Image.fromarray(result.image)
            photo.putalpha(Image.fromarray(result.alpha("hair")))
        """
        probabilities = [softmax(answer) for answer in self._answers]
        mask = matte(self.image, probabilities, self._crops, self.owner, self._kept(names))
        return with_transparency(mask, self._picture.own)

    def _kept(self, names: tuple[str, ...]) -> tuple[int, ...]:
        return self.label_set.resolve(names or self.label_set.names[1:])

    def save(self, path: str | Path) -> None:
        """Write the labels as an indexed PNG: programs read the ids, people see the colours.

        Raises:
            SettingsError: the name does not end in .png; other kinds of picture would change ids.
            OutputError: it cannot be written.
        """
        if Path(path).suffix.lower() != ".png":
            raise SettingsError(f"{path}: labels are saved as PNG; let the name end in .png")
        write_palette_png(Path(path), self.labels, self.label_set.palette())


class FaceParser:
    """A trained model, ready for photographs of any size. Get one from `load`."""

    label_set: LabelSet
    """Names, colours and order of the classes."""
    model: TrainedModel | None
    """The model itself, as `evaluate` scores it; None where the parser was made from a network alone."""

    def __init__(
        self,
        parser: Parser,
        label_set: LabelSet,
        geometry: FaceGeometry | None = None,
        *,
        part_classes: LabelSet | None = None,
        min_face: float = MIN_FACE,
        model: TrainedModel | None = None,
    ) -> None:
        """Keep a loaded network and find out whether it can find faces.

        Args:
            geometry: where faces lie in the training crops; needed to find faces.
            part_classes: label set in whose classes the network finds faces. Default: `label_set`.
            min_face: height of the smallest face that is looked for, as a share of the photograph's.
            model: the model that the network is of.
        """
        self._parser = parser
        self.model = model
        self._geometry = if_consistent(geometry)
        self._own = own_finder(parser, self._geometry, part_classes or label_set, check_min_face(min_face))
        self.label_set = label_set

    def __repr__(self) -> str:
        (height, width), of = self.input_size, self.model.source if self.model else "a network"
        classes = f"{len(self.names)} classes of {self.label_set.name}"
        return f"<FaceParser of {of}: {classes}, {height} x {width}, on {self.device}>"

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; the position is the id."""
        return self.label_set.names

    @property
    def input_size(self) -> Size:
        """Height and width of the network's input, into which a photograph or a face is scaled."""
        return self._parser.input_size

    @property
    def device(self) -> torch.device:
        """Device that the network runs on."""
        return self._parser.device

    def predict(self, image: ImageSource, *, faces: str | Path = AUTO) -> Result:
        """Parse one photograph of any size.

            result = faceparse.load().predict("photo.jpg")

        Args:
            faces: `auto` parses each face that the model finds, if its training pictures were aligned, else the whole
                photograph. `none` parses the whole photograph. A path is the file of YuNet, which then finds the faces.

        Raises:
            DatasetError: not a readable image.
            SettingsError: `faces` is something else.
        """
        return self.predict_batch([image], faces=faces)[0]

    def predict_batch(self, images: Sequence[ImageSource], *, faces: str | Path = AUTO) -> list[Result]:
        """Parse several photographs of any sizes in one run of the network, which is faster on a GPU.

        Raises:
            DatasetError, SettingsError: as `predict`.
        """
        if not isinstance(images, Sequence | np.ndarray) or isinstance(images, str | bytes):
            raise DatasetError(f"images: a {type(images).__name__}; give a list of photographs")
        if not len(images):
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
            crops = crop_picture(picture.image, found, self.input_size, self._geometry, self._parser.fit)
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


def _ids(answer: np.ndarray) -> np.ndarray:
    return answer.argmax(axis=0).astype(np.uint8)


@dataclass(frozen=True)
class _Cropped:
    picture: Picture
    faces: list[Face] | None
    crops: list[Crop]


@named_as_in_python
def load(
    source: str | Path = "celebamask-hq-light",
    *,
    device: str = "auto",
    input_size: Size | None = None,
    min_face: float = MIN_FACE,
    label_set: str | None = None,
    mapping: str | Path | None = None,
    trust: bool = False,
) -> FaceParser:
    """Load a trained model: the one that comes with faceparse, or any other by its name.

        parser = faceparse.load()
        parser.predict("photo.jpg").save("labels.png")

    Args:
        source: the name of a shipped model; the path of a checkpoint (of faceparse, or of the released code), an
            exported file or a bundle; hf:ORG/NAME or hf:ORG/NAME@REVISION of the Hugging Face hub;
            https://HOST/FILE#sha256=HEX; models:/NAME/VERSION or models:/NAME@ALIAS of MLflow's registry.
        device: auto (a GPU where there is one), cpu, cuda, cuda:N or mps.
        input_size: height and width of the crop, instead of the model's own. Exported files of one size take no other.
        min_face: height of the smallest face that is looked for, hairline to chin, as a share of the photograph's.
        label_set: answer with the classes of this label set: a built-in name or a TOML file.
        mapping: answer with the classes of this mapping file.
        trust: whether a TorchScript file or a .pt2 program may be loaded, which can do whatever its author wrote.

    Raises:
        CheckpointError: there is no model, it is damaged, not trusted, or it cannot be fetched.
        TrackingError: MLflow cannot be reached.
        OutputError: the cache of downloads cannot be written.
        DeviceError: the device is not there.
        SettingsError: an input size that no network takes, or no mapping to the wanted classes.
    """
    if input_size is not None:
        input_size = parse_input_size(input_size)
    check_min_face(min_face)
    model = in_classes(load_model_from(source, trust=trust), label_set, Path(mapping) if mapping is not None else None)
    parser = load_parser(model, model.device(device), input_size)
    return FaceParser(
        parser, model.label_set, model.geometry, part_classes=model.part_classes, min_face=min_face, model=model
    )


def as_picture(source: ImageSource) -> Picture:
    """Decode a photograph, in whatever form it was given.

    Raises:
        DatasetError: not a readable image, an array of another shape or type, or more pixels than `MAX_PIXELS`.
        ResourceError: no installed package reads its format.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return Picture(_checked(source).copy())  # the caller may fill the same array with the next frame
    if isinstance(source, Image.Image):
        try:
            return from_pillow(source, "image")
        except DAMAGED as error:
            raise DatasetError(f"image: not a readable image ({error}); replace the file") from None
    if isinstance(source, bytes):
        return decode_picture(source, "image")
    if isinstance(source, str | Path):
        if problem := path_problem(source):  # checked as text: an empty text would become the folder `.`
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
