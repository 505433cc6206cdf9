"""`prepare --to`: the same dataset as loose files that are packed afterwards, and nothing else is left."""

import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from faceparse.core.datasets.layout import DatasetFolder, fingerprint
from faceparse.core.datasets.pack import pack
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.prepare_by_name import prepare_by_name
from faceparse.core.datasets.prepare_shards import prepare_shards
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.errors import DatasetError, OutputError, SettingsError
from tests import raw

DRAWN = {"count": 8, "size": 64}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("to", ["webdataset", "parquet"])
def test_a_dataset_in_shards_is_the_same_dataset(tmp_path: Path, to: str) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    report = prepare_by_name("synthetic", None, tmp_path / "new" / "shards", {**DRAWN, "to": to, "processes": 2})
    loose = prepare_by_name("synthetic", None, tmp_path / "loose", DRAWN)
    assert (report.splits, report.done, report.label_set) == (loose.splits, 8, loose.label_set)
    pack(tmp_path / "loose", tmp_path / "packed", to=to)
    assert contents(tmp_path / "new") == {
        f"shards/{name}": content for name, content in contents(tmp_path / "packed").items()
    }
    assert fingerprint(tmp_path / "new" / "shards") == fingerprint(tmp_path / "loose")


def test_the_same_command_again_does_nothing(tmp_path: Path) -> None:
    source, out = Synthetic(count=6, size=64), tmp_path / "shards"
    first = prepare_shards(source, out, to="webdataset")
    before = contents(tmp_path)
    again = prepare_shards(source, out, to="webdataset")
    assert (again.splits, again.done) == (first.splits, 0)
    assert contents(tmp_path) == before


def test_an_archive_leaves_nothing_unpacked(tmp_path: Path) -> None:
    folder, archive = raw.make_helen(tmp_path / "raw"), tmp_path / "helen.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*"):
            file.write(path, path.relative_to(folder))
    out = tmp_path / "out" / "helen"
    for done in (True, False):
        report = prepare_by_name("helen", archive, out, {"to": "webdataset", "size": 64, "align": "auto"})
        assert bool(report.done) == done
        assert report.ceiling
        assert [path.name for path in out.parent.iterdir()] == ["helen"]


def test_shards_of_something_else_stay(tmp_path: Path) -> None:
    out = tmp_path / "shards"
    prepare_shards(Synthetic(count=6, size=64), out, to="webdataset")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match="another kind, or from another source or with other options"):
        prepare_shards(Synthetic(count=7, size=64), out, to="webdataset")
    with pytest.raises(OutputError, match="holds a dataset in shards; choose another folder"):
        prepare(Synthetic(count=6, size=64), out)
    assert contents(tmp_path) == before
    with pytest.raises(OutputError, match="holds other files"):
        prepare_shards(Synthetic(count=6, size=64), tmp_path, to="webdataset")
    with pytest.raises(
        SettingsError, match=re.escape("--to 'webdatase': not one of webdataset, parquet; did you mean")
    ):
        prepare_by_name("synthetic", None, tmp_path / "new", {"to": "webdatase"})
    assert contents(tmp_path) == before


def test_photographs_that_came_later_are_told(tmp_path: Path) -> None:
    """Shards are never changed; a report that nothing is to be done would be wrong."""
    folder, out = raw.make_helen(tmp_path / "raw"), tmp_path / "shards"
    prepare_by_name("helen", folder, out, {"to": "webdataset", "align": "none"})
    changed = next(path for path in sorted(folder.rglob("*.jpg")))
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(OutputError, match="the source has changed since"):
        prepare_by_name("helen", folder, out, {"to": "webdataset", "align": "none"})


def test_a_shard_that_was_cut_is_told(tmp_path: Path) -> None:
    source, out = Synthetic(count=6, size=64), tmp_path / "shards"
    prepare_shards(source, out, to="webdataset")
    shard = out / "train-00000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DatasetError, match="cut short"):
        prepare_shards(source, out, to="webdataset")


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out" / "shards"
    command = [sys.executable, "-m", "faceparse.cli", "prepare", "synthetic", str(out), "--to", "webdataset"]
    command += ["--count", "60", "--size", "64", "--processes", "1"]
    killed = 0
    for wanted in (5, 20, 60):  # photographs that are there when the process is killed; at 60 it packs
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        labels = tmp_path / "out" / ".shards.loose" / "labels"
        while process.poll() is None and len(list(labels.glob("*.png"))) < wanted:
            time.sleep(0.01)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2
    subprocess.run(command, check=True, capture_output=True)
    whole = tmp_path / "whole"
    prepare_shards(Synthetic(count=60, size=64), whole, to="webdataset")
    assert contents(out) == contents(whole)
    assert [path.name for path in out.parent.iterdir()] == ["shards"]
    assert len(DatasetFolder(out).samples("train")) == len(DatasetFolder(whole).samples("train"))
