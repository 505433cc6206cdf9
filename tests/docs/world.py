"""The folder that the documentation's commands are typed in: downloads, photographs, datasets, runs, all tiny."""

import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from faceparse.cli import run
from faceparse.core.annotations.cvat import CvatFile
from faceparse.core.annotations.labelme import encode_labelme
from faceparse.core.datasets.layout import SPLITS
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.classes import PlainClasses
from faceparse.core.labels.label_set import get_label_set
from tests import raw
from tests.core.foreign.networks import save, small_model
from tests.core.prediction.detector import make_detector
from tests.core.prediction.films import make_video
from tests.docs.shown import ROOT

ENVIRONMENT = {
    "FACEPARSE_MODEL__BACKBONE": "resnet18",
    "FACEPARSE_MODEL__STEM": "torchvision",
    "FACEPARSE_DATA__INPUT_SIZE": "64,64",
    "FACEPARSE_DATA__WORKERS": "0",
    "FACEPARSE_TRAIN__BATCH_SIZE": "2",
    "FACEPARSE_TRAIN__EPOCHS": "1",
    "FACEPARSE_TRAIN__DEVICE": "cpu",
    "FACEPARSE_TRACKING__OVERLAYS": "0",
}
"""Makes the smallest run of every recipe; what a command itself says comes before it."""

MINE = {"skin": 1, "left_eye": 2, "right_eye": 3, "nose": 4}
"""Drawn classes that the documentation's own label set has; both lips are its mouth."""
FASSEG = {"hair": 1, "skin": 2, "left_eye": 3, "right_eye": 3, "inner_mouth": 4, "nose": 5}


def make_world(root: Path) -> None:
    """Fill `root`, which is the working folder, with everything that the pages presume."""
    shutil.copytree(ROOT / "experiments", root / "experiments")
    shutil.copytree(ROOT / "docs" / "portraits", root / "docs" / "portraits")
    _make_downloads(root / "downloads")
    _make_fasseg(root / "FASSEG-repository" / "V2")
    _make_own(root / "my-photos")
    _arrange_own(root)
    _draw_own(root)
    _make_labelled(root / "portraits", [f"{n}" for n in range(10)])
    _make_labelled(root / "album", [f"{day}/{n}" for n in range(5) for day in ("monday", "tuesday")])
    _make_inputs(root)
    for arguments in (
        "prepare helen downloads/Helen dataset/Helen",
        "prepare lapa downloads/LaPa.zip dataset/LaPa",
        "prepare celebamask-hq downloads/CelebAMask-HQ.zip dataset/CelebAMask-HQ",
        "prepare ibugmask downloads/ibugmask_release dataset/iBugMask",
        "prepare fasseg FASSEG-repository/V2 dataset/FASSEG",
        "train experiments/helen.toml",
    ):
        assert run(arguments.split()) == 0, arguments
    (trained,) = (root / "runs" / "helen").iterdir()
    assert run(["eval", str(trained.relative_to(root) / "best.pth")]) == 0
    for experiment in ("faceparse", "fasseg"):
        shutil.copytree(trained, root / "runs" / experiment / trained.name)
    for place in (".", "A", "B"):
        (root / place).mkdir(exist_ok=True)
        shutil.copy(trained / "best.pth", root / place)
    shutil.copy(trained / "best.pth", root / "resnet101-imagenet.pth")  # weights that fit a net as small as this


def _make_downloads(downloads: Path) -> None:
    raw.make_helen(downloads / "Helen", (6, 2, 2))
    raw.make_ibugmask(downloads)
    for make, name in ((raw.make_lapa, "LaPa"), (raw.make_celebamask_hq, "CelebAMask-HQ")):
        make(downloads / name)
        shutil.make_archive(str(downloads / name), "zip", downloads, name)
        shutil.rmtree(downloads / name)


def _renamed(label: np.ndarray, ids: dict[str, int]) -> np.ndarray:
    """A drawn face's label in another set's ids; what that set does not know is background."""
    table = np.zeros(256, np.uint8)
    for name, i in ids.items():
        table[get_label_set("helen").names.index(name)] = i
    return table[label]


def _make_fasseg(root: Path) -> None:
    palette = get_label_set("fasseg").palette()
    for part, count in (("Train", 7), ("Test", 2)):
        for kind in ("RGB", "Labels"):
            (root / f"{part}_{kind}").mkdir(parents=True)
        for n in range(1, count + 1):
            face = raw.face(n if part == "Train" else 20 + n)
            Image.fromarray(face.image).save(root / f"{part}_RGB" / f"{n}.bmp")
            Image.fromarray(palette[_renamed(face.label, FASSEG)]).save(root / f"{part}_Labels" / f"{n}.bmp")


def _make_own(root: Path) -> None:
    ids = MINE | {"upper_lip": 5, "inner_mouth": 5, "lower_lip": 5}
    for n in range(10):
        face = raw.face(30 + n)
        raw.write(root / "photos" / f"{n}.jpg", encode_jpeg(face.image))
        raw.write(root / "masks" / f"{n}.png", encode_png(_renamed(face.label, ids)))


def _arrange_own(root: Path) -> None:
    """The same photographs in other folders, with other splits and other labels; two of them without a label."""
    own, names = root / "my-photos", [str(n) for n in range(10)]
    classes = ("background", *MINE, "mouth")
    for n, name in enumerate(names):
        photo, mask = own / "photos" / f"{name}.jpg", own / "masks" / f"{name}.png"
        for folder, place in (("my-album", ("anna", "ben", "cy", "dan")[n % 4]), ("their-photos", SPLITS[n % 3])):
            _copy(photo, root / folder / "photos" / place / photo.name)
            _copy(mask, root / folder / "masks" / place / mask.name)
        for folder in ("my-parts", "half-done"):
            _copy(photo, root / folder / "photos" / photo.name)
        if n < 8:
            _copy(mask, root / "half-done" / "masks" / mask.name)
        label = read_label(mask)
        for i, one in enumerate(classes[1:], 1):
            raw.write(root / "my-parts" / "masks" / f"{name}_{one}.png", encode_png(np.uint8(255) * (label == i)))


def _draw_own(root: Path) -> None:
    """The same photographs with the files of annotation tools."""
    classes = {"background": "#000000"} | dict.fromkeys((*MINE, "mouth"), "#ffffff")
    own, drawn = root / "my-photos", root / "my-drawings"
    with CvatFile.open(drawn, PlainClasses("mine", classes)) as file:
        for n in range(10):
            photo, label = own / "photos" / f"{n}.jpg", read_label(own / "masks" / f"{n}.png")
            owner = (label != 0).astype(np.uint16)
            _copy(photo, drawn / "photos" / photo.name)
            content = encode_labelme(photo.name, label, owner, file.label_set)
            raw.write(drawn / "photos" / f"{n}.json", content)
            file.add(photo.name, (label.shape[0], label.shape[1]), file.describe(label, owner))
    (drawn / "cvat.xml").rename(drawn / "annotations.xml")


def _copy(source: Path, target: Path) -> None:
    raw.write(target, source.read_bytes())


def _make_labelled(root: Path, names: list[str]) -> None:
    """What `faceparse web --label` leaves of a folder in which the first photograph is not labelled yet."""
    for n, name in enumerate(names):
        face = raw.face(70 + n)
        raw.write(root / f"{name}.jpg", encode_jpeg(face.image))
        if n:
            raw.write(root / "labels" / f"{name}.png", encode_png(_renamed(face.label, MINE)))


def _make_inputs(root: Path) -> None:
    """Photographs, a film, a list, a face detector."""
    names = ["photo", "portrait", "group", "nobody", "a", "b", "holidays/beach", "holidays/trip/hills"]
    for n, name in enumerate(names):
        image = raw.face(50 + n).image
        if name == "group":  # the boxes on the page lie in a larger one
            image = cv2.resize(image, (640, 640))
        raw.write(root / f"{name}.jpg", encode_jpeg(image))
    photos = [encode_jpeg(raw.face(30 + n).image) for n in range(2)]
    parquet.write_table(pyarrow.table({"photo": photos}), root / "photos.parquet")
    with tarfile.open(root / "photos.tar", "w") as tar:
        tar.add(root / "photo.jpg", "photo.jpg")
    (root / "list.txt").write_text("photo.jpg\nholidays/beach.jpg\n")
    frames = [cv2.resize(raw.face(60).image, (64, 64))] * 4
    make_video(root / "film.mp4", frames)
    make_detector(root / "yunet.onnx")
    save(small_model(classes=11, size=(512, 512)), root / "theirs.onnx")
