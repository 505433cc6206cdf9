"""A bundle's program, in a process that has ONNX Runtime, NumPy and OpenCV alone."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import faceparse
from faceparse.core.drawing import drawn_face
from faceparse.core.errors import CheckpointError, DatasetError
from faceparse.core.export.bundle import fill_bundle, read_bundle
from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import FORMATS
from faceparse.core.export.program_files import program_files
from faceparse.core.images.decoding import decode_plain
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_photograph import decode_image
from faceparse.core.runtime.checksums import check_sums
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.runtime.program import open_trusted
from tests.core.faces.test_finder import draw_face
from tests.core.prediction.painted import painted_onnx

PORTRAITS = Path(__file__).parents[3] / "docs" / "portraits"

ALONE = """
import runpy, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ALLOWED or top.startswith("_"):
            return None
        raise ModuleNotFoundError(f"{name}: not installed here", name=name)

ALLOWED = {"onnxruntime", "numpy", "cv2", "faceparse"}
sys.meta_path[:] = [Nothing(), *(one for one in sys.meta_path if "editable" not in str(one).lower())]
bundle, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_path(f"{bundle}/run.py", run_name="__main__")
finally:
    import faceparse
    assert faceparse.__file__.startswith(f"{bundle}/runtime.zip"), faceparse.__file__
    others = {name.partition(".")[0] for name in sys.modules} & {"torch", "mlflow", "pydantic", "PIL", "safetensors"}
    assert not others, others
"""


def run_alone(bundle: Path, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The bundle's program, where every import of another package is an error."""
    command = [sys.executable, "-c", ALONE, bundle, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("program") / "face.bundle", "logits")


def make_bundle(folder: Path, kind: str) -> Path:
    """A bundle of a network that finds drawn faces by their colours."""
    folder.mkdir()
    painted_onnx(folder / "model.onnx", kind)  # type: ignore[arg-type]
    fill_bundle(folder, read_exported(folder / "model.onnx", FORMATS["onnx"]), "onnx", None, None)
    return folder


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Two faces, turned."""
    drawn = np.full((300, 420, 3), 90, np.uint8)
    draw_face(drawn, 120, 140, 160, 20)
    draw_face(drawn, 320, 160, 120, -30)
    return drawn


def labels_in(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found


def test_it_gives_the_labels_of_predict_with_three_packages(bundle: Path, picture: np.ndarray, tmp_path: Path) -> None:
    photographs = [tmp_path / "two.png", *sorted(PORTRAITS.glob("*.jpg"))]
    photographs[0].write_bytes(encode_png(picture))
    done = run_alone(bundle, *photographs, "-o", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith(f"{photographs[0]}: 2 faces; background, skin, left_eye, ")
    parser = faceparse.load(bundle, device="cpu")
    for photograph in photographs:
        expected = parser.predict(photograph).labels
        # Softmax in PyTorch and in NumPy differ by a rounding, and so may a face's place: some pixels at borders.
        assert (labels_in(tmp_path / "out" / f"{photograph.stem}-labels.png") == expected).mean() > 0.999
        assert (tmp_path / "out" / f"{photograph.stem}-overlay.jpg").is_file()


def test_whole_photographs_are_parsed_where_that_is_wanted(bundle: Path, picture: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "two.png").write_bytes(encode_png(picture))
    done = run_alone(bundle, "two.png", "--faces", "none", cwd=tmp_path)
    assert done.stdout.startswith("two.png: parsed as a whole; ")
    expected = faceparse.load(bundle, device="cpu").predict(picture, faces="none").labels
    assert np.array_equal(labels_in(tmp_path / "two-labels.png"), expected)


def test_bad_input_is_one_line(bundle: Path, picture: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(encode_png(picture))
    (tmp_path / "cut.jpg").write_bytes(encode_jpeg(picture)[:-900])
    done = run_alone(bundle, "cut.jpg", "no.jpg", "good.png", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "error: cut.jpg: truncated JPEG; replace the file"
    assert lines[1].startswith("error: ")
    assert "no.jpg" in lines[1]
    assert len(lines) == 2
    assert (tmp_path / "good-labels.png").is_file()  # the others are parsed all the same
    (tmp_path / "good.bmp").write_bytes(b"")
    done = run_alone(bundle, "good.png", "good.bmp", cwd=tmp_path)
    assert done.stderr == "error: two photographs are named good; parse them one after the other, with another -o\n"


def test_a_bundle_with_another_byte_does_not_run(bundle: Path, picture: np.ndarray, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for path in bundle.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    with (own / "model.onnx").open("ab") as file:
        file.write(b"x")
    (tmp_path / "two.png").write_bytes(encode_png(picture))
    done = run_alone(own, "two.png", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {own}/model.onnx: was changed since it was exported")


@pytest.mark.parametrize("kind", ["logits", "labels"])
def test_what_it_reads_of_a_file_is_what_faceparse_reads(kind: str, tmp_path: Path, picture: np.ndarray) -> None:
    """Faceparse checks a stranger's file with more packages; of its own file both read the same."""
    path = make_bundle(tmp_path / "b", kind) / "model.onnx"
    plain, checked = open_trusted(path), open_onnx(path)
    for name in ("geometry", "kind", "input_size", "sizes"):
        assert getattr(plain, name) == getattr(checked, name)
    assert plain.label_set.names == checked.label_set.names
    assert plain.label_set.part_ids() == checked.label_set.part_ids()
    assert np.array_equal(plain.label_set.palette(), checked.label_set.palette())
    crop = picture[None, :96, :96]
    assert np.array_equal(plain.logits(crop), checked.logits(crop))


def test_the_modules_are_those_of_the_package(bundle: Path) -> None:
    """The same bytes, and no more than the program needs."""
    root = Path(faceparse.__file__).parents[1]
    with zipfile.ZipFile(bundle / "runtime.zip") as archive:
        names = archive.namelist()
        assert all(archive.read(name) == (root / name).read_bytes() for name in names)
    assert "faceparse/core/faces/finder.py" in names
    assert not [name for name in names if "settings" in name or "metadata" in name]
    assert program_files() == program_files()


def test_checksums_cover_the_program_and_faceparse_never_runs_it(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for path in bundle.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    ran = tmp_path / "ran"
    evil = f"open({str(ran)!r}, 'w')\n".encode()
    (own / "run.py").write_bytes(evil)
    with pytest.raises(CheckpointError, match=r"run\.py: was changed since it was exported"):
        check_sums(own)
    sums = (own / "SHA256SUMS").read_text().splitlines()
    right = [f"{hashlib.sha256(evil).hexdigest()}  run.py" if line.endswith("  run.py") else line for line in sums]
    (own / "SHA256SUMS").write_text("\n".join(right) + "\n")
    read_bundle(own)
    faceparse.load(own, device="cpu")
    assert not ran.exists()
    for name in ("run.py", "runtime.zip"):  # not downloaded from a hub
        (own / name).unlink()
    assert check_sums(own) == own / "model.onnx"


def test_photographs_are_read_as_faceparse_reads_them() -> None:
    image = drawn_face.draw_face(np.random.default_rng(2), 90).image
    for data in (
        encode_png(image),
        encode_jpeg(image),
        encode_png(image[..., 0]),
        cv2.imencode(".bmp", image)[1].tobytes(),
    ):
        assert np.array_equal(decode_plain(data, "x"), decode_image(data, "x"))
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    assert np.array_equal(decode_plain(encode_png(opaque), "x"), image)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "x: not a JPEG, PNG, BMP; save it as one of them"),
        (encode_png(np.zeros((8, 8, 4), np.uint8)), "x: transparent, or more than 8 bits a channel; save it as a JPEG"),
        (
            cv2.imencode(".png", np.zeros((8, 8, 3), np.uint16))[1].tobytes(),
            "x: transparent, or more than 8 bits a channel; save it as a JPEG",
        ),
        (encode_png(np.zeros((8, 8, 3), np.uint8))[:-20], "x: truncated or damaged PNG; replace the file"),
        (b"BM" + bytes(60), "x: not a readable image; replace the file"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(DatasetError) as caught:
        decode_plain(data, "x")
    assert str(caught.value) == reason
