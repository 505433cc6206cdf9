"""`train --folds`, and what other commands do with its folder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.sweeps.sweep_file import Record, write_record

Tree = Callable[[], dict[Path, bytes]]
TINY = [
    "--batch-size",
    4,
    "--epochs",
    1,
    "--device",
    "cpu",
    "--set",
    "data.input_size=64,64",
    "--set",
    "data.workers=0",
]
TINY += ["--set", "model.backbone=mobilenet_v2", "--set", "tracking.enabled=false"]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]


def test_it_ends_with_the_score_of_every_photograph_and_with_a_model(cli: Any, faces: Path) -> None:
    data = shutil.copytree(faces, "faces")
    done = cli("train", *TINY, "--data-dir", data, "--folds", 2, "--snapshot-dir", "f")
    assert done.code == 0
    first, second, every = cells(done.out)
    assert [first[:3], second[:3], every[:3]] == [["1", "7", "1"], ["2", "7", "1"], ["all", "14", ""]]
    assert done.out.splitlines()[-2:] == [
        "each photograph by the network that did not see it: f/out-of-fold/report.html",
        "the ensemble is f; next: faceparse eval f",
    ]
    again = cli("train", "--resume", "f")
    assert (again.code, again.out) == (0, done.out)
    assert cli("eval", "f", "--worst", 0, "--bootstrap", 0, "--device", "cpu").code == 0
    assert Path("f/eval/ensemble.json/test/scores.json").is_file()
    seen = cli("eval", "f", "--split", "val", "--worst", 0, "--bootstrap", 0, "--device", "cpu")
    assert "warning: f/ensemble.json: was trained on 2 of the 2 photographs of" in seen.err
    photo = next((faces / "images").iterdir())
    assert cli("predict", "--model", "f", photo, "-o", "out", "--device", "cpu").code in (0, 1)
    refused = cli("train", *TINY, "--data-dir", faces, "--restore-from", "f", "--snapshot-dir", "g").message
    assert refused == "f: an ensemble of several networks; give the checkpoint of one of them"
    Path("faces/test_list.txt").unlink()  # all its photographs were seen in training
    assert cli("train", "--resume", "f").out.splitlines()[-1] == "the ensemble is f"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--folds", 2, "--profile"), "--profile: takes a single run; choose one of the folds, such as --set"),
        (("--folds", 2, "--resume", "auto"), "--resume auto: takes a single run; choose one of the folds"),
        (("--resume", "folds", "--epochs", 3), "--resume folds: goes on with its own settings; drop the other"),
        (("--resume", "curve"), "curve: holds a curve; go on by: faceparse curve --resume curve"),
        (("--folds", 1), "option: data.folds = 1: input should be greater than or equal to 2"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(
    cli: Any, tree: Tree, arguments: tuple[object, ...], expected: str
) -> None:
    for purpose in ("folds", "curve"):
        Path(purpose).mkdir()
        write_record(Path(purpose), Record({}, [], "grid", 0, None, purpose=purpose))  # type: ignore[arg-type]
    before = tree()
    assert cli("train", *arguments).message.startswith(expected)
    assert tree() == before
