import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from faceparse.core.training.run import RunResult

Tree = Callable[[], dict[Path, bytes]]


def test_photographs_and_folders_are_parsed(cli: Any, trained: RunResult, faces: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted((faces / "images").iterdir())
    (tmp_path / "folder").mkdir()
    shutil.copy(first, tmp_path / "folder")
    done = cli("predict", trained.best, tmp_path / "folder", second, "--output", "out[/bold]")
    assert (done.code, done.out, done.err) == (0, "out[/bold]: 2 parsed\n", "")
    for kind, suffix in (("labels", ".png"), ("overlays", ".jpg")):
        found = {path.name for path in (tmp_path / "out[/bold]" / kind).iterdir()}
        assert found == {first.stem + suffix, second.stem + suffix}
    with Image.open(tmp_path / "out[/bold]" / "labels" / f"{first.stem}.png") as picture:
        assert (picture.size, picture.mode) == ((72, 72), "P")


def test_the_default_output_is_a_folder_here(cli: Any, trained: RunResult, faces: Path) -> None:
    assert cli("predict", trained.best, next((faces / "images").iterdir())).out == "predictions: 1 parsed\n"
    assert len(list(Path("predictions/labels").iterdir())) == 1


def test_a_broken_photograph_is_listed_and_the_rest_is_done(
    cli: Any, trained: RunResult, faces: Path, tmp_path: Path
) -> None:
    for path in sorted((faces / "images").iterdir())[:3]:
        shutil.copy(path, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    done = cli("predict", trained.best, tmp_path, "-o", "out", "--batch-size", 2)
    assert done.code == 1
    assert done.out == "out: 3 parsed, 1 left out\n"
    assert done.err == f"left out: {tmp_path / 'broken.png'}: not a readable image; replace the file\n"
    assert len(list(Path("out/labels").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: no such image or folder"),
        (["."], ".: no images in it (.jpg, "),
        ([], "Missing argument "),
        (["{image}", "--device", "tpu"], "device 'tpu': not one of auto, cpu, cuda, cuda:N"),
        (["{image}", "-o", "/proc/x"], "cannot write /proc/x: "),
        (["{image}", "-o", "{image}"], "cannot write {image}: "),
        (["{image}", "--input-size", "1"], "option: data.input_size = "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_in_one_line(
    cli: Any, trained: RunResult, faces: Path, tree: Tree, arguments: list[str], expected: str
) -> None:
    image = next((faces / "images").iterdir())
    message = cli("predict", trained.best, *(argument.format(image=image) for argument in arguments)).message
    assert message.startswith(expected.format(image=image))
    assert tree() == {}


def test_a_missing_checkpoint_is_refused(cli: Any, faces: Path, tree: Tree) -> None:
    assert cli("predict", "nothing.pth", faces / "images").message == "nothing.pth: no such checkpoint file"
    assert tree() == {}
