"""A wrong description scores worse than the right one, which is found and named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.files.writing import write_atomic
from faceparse.core.foreign.foreign_description import Description, Output
from faceparse.core.foreign.foreign_file import read_foreign
from faceparse.core.foreign.guesses import Trial, try_descriptions
from faceparse.core.foreign.import_model import Importer
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.scoring.split import find_split
from tests.core.foreign.networks import CELEBA, describe, save
from tests.core.foreign.painted_faces import colour_reader, painted_dataset

ORDER = (*CELEBA.names[:5], *reversed(CELEBA.names[5:]))
SIZE = (64, 96)
HALF = Output(name="half", values="logits", stride=1)


def tried(tmp_path: Path, description: Description, *, without: str = "", **network: Any) -> Trial:
    data = painted_dataset(tmp_path / "data", sizes=((64, 192), (128, 96)))
    for path in (data / "labels").rglob("*.png") if without else ():
        label = read_label(path)
        write_atomic(path, encode_png(np.where(label == CELEBA.names.index(without), 0, label).astype(np.uint8)))
    importer = Importer(read_foreign(save(colour_reader(SIZE, **network), tmp_path / "f.onnx")), description)
    report = importer.write(tmp_path / "bundle")
    return try_descriptions(importer, report.model, find_split(importer.described_model(), data_dir=data))


def test_a_class_that_no_photograph_has_is_named_and_its_place_is_a_guess(tmp_path: Path) -> None:
    trial = tried(tmp_path, describe(SIZE), without="hat", order=ORDER)
    assert trial.absent == ("hat",)
    assert trial.better is not None
    assert trial.better.change.endswith("the place of hat is a guess, since no photograph here has it)")
    assert tried(tmp_path / "all", describe(SIZE, classes=ORDER), order=ORDER).absent == ()


def test_the_right_description_is_not_doubted(tmp_path: Path) -> None:
    trial = tried(tmp_path, describe(SIZE, classes=ORDER), order=ORDER)
    assert trial.mean_f1 > 0.9
    assert trial.better is None
    assert len(trial.guesses) == 5  # BGR, three normalisations, cropped


@pytest.mark.parametrize(
    ("told", "network", "change", "line"),
    [
        ({}, {"order": ORDER}, "another order of the classes", f'classes = ["{ORDER[0]}", "{ORDER[1]}"'),
        ({"channel_order": "bgr"}, {}, "RGB in place of BGR", 'channel_order = "rgb"'),
        ({}, {"bgr": True}, "BGR in place of RGB", 'channel_order = "bgr"'),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, {}, "ImageNet's mean and std", "scale = 1.0, mean = [0.485"),
        ({"output": HALF}, {"worse": True}, "output 'output'", 'name = "output"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, told: Any, network: Any, change: str, line: str) -> None:
    trial = tried(tmp_path, describe(SIZE, **told), **network)
    assert trial.better is not None, trial
    assert trial.better.change.startswith(change)
    assert trial.better.lines.startswith(line)
    assert trial.better.mean_f1 > 0.85
    if "order" in network:
        assert "is a guess" not in trial.better.change
        assert trial.better.lines == "classes = [" + ", ".join(f'"{name}"' for name in ORDER) + "]"
