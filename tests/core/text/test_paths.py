"""The gate of paths, at the doors that it guards."""

from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from faceparse.core.api import as_picture
from faceparse.core.errors import CheckpointError, DatasetError, OutputError, SettingsError
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.labels.label_set import read_label_set
from faceparse.core.names.find import find_model
from faceparse.core.settings import load_settings
from faceparse.core.text.paths import leads_out, path_problem, utf8_problem

BAD = ["", "a\0b", "x" * 300, "ok/" + "ä" * 200, "d/" * 3000 + "d", "loop", "\ud800"]


@pytest.fixture(autouse=True)
def loop(tmp_path: Path) -> None:
    Path("loop").symlink_to("loop")


@pytest.mark.parametrize("path", BAD)
def test_every_door_says_what_is_wrong_in_one_line(path: str) -> None:
    for door, error in (
        (lambda: as_picture(path), DatasetError),
        (lambda: find_model(path), CheckpointError),
        (lambda: load_settings(options={"data.root": path}), SettingsError),
        (lambda: load_settings(options={"train.run_dir": path}), SettingsError),
    ):
        with pytest.raises(error) as caught:
            door()
        assert str(caught.value).endswith(path_problem(path) or "?")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", BAD[1:])
def test_so_do_files(path: str) -> None:
    for door, error in (
        (lambda: read_bytes(Path(path)), DatasetError),
        (lambda: write_atomic(Path(path), b""), OutputError),
        (lambda: make_folder(Path(path)), OutputError),
        (lambda: read_label_set(Path(path)), SettingsError),
    ):
        with pytest.raises(error) as caught:
            door()
        assert str(caught.value).endswith(path_problem(path) or "?")


def test_what_may_be_a_path_passes() -> None:
    for path in ("new", "no/such/file", "x" * 255, ".", "/", "a b"):
        assert utf8_problem(path) is None
    assert path_problem("\udcff") is None
    assert utf8_problem("\udcff") == "'\\udcff' is not UTF-8; rename it"


@pytest.mark.parametrize(
    ("folder", "inside", "outside"),
    [
        (PurePosixPath("data"), ["a", "images/a.jpg", "C:/a", "a:b", "."], ["/a", "../a", "a/../../b"]),
        (PurePosixPath(), ["a"], ["/a", ".."]),
        (PurePosixPath("../data"), ["a"], ["../a"]),
        (PureWindowsPath("D:/data"), ["a", "images/a.jpg", r"images\a.jpg"], ["C:/a", "C:a", "/a", r"\a", "//host/a"]),
        (PureWindowsPath("data"), ["a"], [r"..\a", r"a\..\..\b", "C:a", r"\\?\C:\a"]),
    ],
)
def test_names_that_lead_out_of_their_folder(folder: PurePath, inside: list[str], outside: list[str]) -> None:
    assert not [name for name in inside if leads_out(folder, name)]
    assert [name for name in outside if not leads_out(folder, name)] == []
