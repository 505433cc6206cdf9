"""Every source through the commands, from the raw layout to scores; and the mistakes on the way."""

import json
import resource
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.conftest import Cli
from tests.raw import make_celebamask_hq, make_helen, make_ibugmask, make_lapa

SOURCES: dict[str, Callable[[Path], Path]] = {
    "helen": make_helen,
    "lapa": make_lapa,
    "celebamask-hq": make_celebamask_hq,
    "ibugmask": make_ibugmask,
}
TRAIN = [
    "--epochs", 1, "--batch-size", 2, "--input-size", "64,64", "--device", "cpu",
    "--set", "model.backbone=mobilenet_v2", "--set", "data.workers=0", "--snapshot-dir", "run",
]  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_comes_through_to_scores(name: str, cli: Cli, tmp_path: Path) -> None:
    SOURCES[name](tmp_path / "raw")
    aligned = ["--size", 96] if name in ("helen", "ibugmask") else []
    done = cli("prepare", name, "raw", "out", "--processes", 1, *aligned)
    assert done.code == 0
    assert all(line.startswith("note: in no label: ") for line in done.err.splitlines()), done.err
    assert done.out.startswith("out: ")
    assert ("ceiling" in done.out) == bool(aligned)
    assert cli("edges", "out", "--processes", 1).code == 0
    done = cli("check", "out", "--processes", 1)
    assert done.code == 0, done.out
    assert cli("train", "--data-dir", "out", *TRAIN).code == 0
    done = cli("eval", "run/best.pth", "--json")
    assert done.code == 0
    scores = json.loads(done.out)
    assert scores["images"] == 2
    assert 0 <= scores["mean_f1"] <= 1


def test_shards_come_through_to_the_same_scores(cli: Cli, tmp_path: Path) -> None:
    make_lapa(tmp_path / "raw")
    assert cli("prepare", "lapa", "raw", "out", "--processes", 1).code == 0
    done = cli("prepare", "shards", "out", "tar", "--to", "webdataset", "--processes", 1)
    assert (done.code, done.err) == (0, "")
    assert done.out == "tar: 4 train, 2 val, 2 test in 3 shards\nnext: faceparse check tar\n"
    assert cli("edges", "tar").out == "tar/edges: 0 made, 8 up to date\n"
    assert cli("check", "tar", "--processes", 1).code == 0
    assert cli("train", "--data-dir", "tar", *TRAIN).code == 0
    shards, loose = (cli("eval", "run/best.pth", "--data-dir", place, "--json") for place in ("tar", "out"))
    assert (shards.code, loose.code) == (0, 0)
    assert json.loads(shards.out)["mean_f1"] == json.loads(loose.out)["mean_f1"]
    done = cli("prepare", "shards", "out", "other", "--to", "zip")
    assert (done.code, done.err) == (2, "error: --to 'zip': not one of webdataset, parquet\n")
    with (tmp_path / "tar" / "train-00000.tar").open("r+b") as file:
        file.truncate(1000)
    done = cli("train", "--data-dir", "tar", *TRAIN, "--snapshot-dir", "another")
    assert done.code == 2
    assert done.err.startswith("error: tar/train-00000.tar: cut short: 1000 of ")
    assert not (tmp_path / "another").exists()


def test_what_alignment_costs_is_shown(cli: Cli, tmp_path: Path) -> None:
    make_lapa(tmp_path / "raw")
    (tmp_path / "raw" / "val" / "landmarks" / "5_0.txt").unlink()
    done = cli("prepare", "lapa", "raw", "out", "--align", "landmarks", "--size", 48, "--processes", 1)
    assert done.code == 0
    assert done.err == "unaligned: 5_0, no landmarks\n"
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.out.splitlines() if "│" in line}
    assert 50 < float(rows["left_eye"]) < 100
    assert 50 < float(rows["mean without background"]) < 100
    assert np.load("out/project/7_0.npy").shape == (2, 3)
    again = cli("prepare", "lapa", "raw", "out", "--align", "landmarks", "--size", 48, "--processes", 1)
    assert again.out.splitlines()[0].endswith(", 0 prepared now")
    assert again.out.splitlines()[1:] == done.out.splitlines()[1:]


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_as_good_as_its_folder(cli: Cli, tmp_path: Path, kind: str) -> None:
    make_lapa(tmp_path / "raw" / "LaPa")
    archive = shutil.make_archive("lapa", kind, "raw")
    for raw, out in (("raw", "from_folder"), (archive, "from_archive")):
        assert cli("prepare", "lapa", raw, out, "--processes", 1).code == 0
    for path in Path("from_folder").rglob("*.*g"):
        assert path.read_bytes() == (Path("from_archive") / path.relative_to("from_folder")).read_bytes()
    assert not Path("from_archive/.unpacked").exists()
    shutil.rmtree("raw")
    done = cli("prepare", "lapa", archive, "from_archive", "--processes", 1)
    assert "0 prepared now" in done.out


@pytest.mark.parametrize("source", ["lapa", "helen", "celebamask-hq", "ibugmask", "fasseg"])
def test_an_archive_of_another_dataset_leaves_nothing(cli: Cli, tmp_path: Path, source: str) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.txt").write_text("nothing of use")
    shutil.make_archive("other", "zip", "raw")
    assert cli("prepare", source, "other.zip", "out", "--processes", 1).code == 2
    assert not Path("out").exists()


def test_a_folder_whose_labels_are_all_broken_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    make_lapa(tmp_path / "raw", (3, 1, 1))
    for label in (tmp_path / "raw" / "train" / "labels").iterdir():
        label.write_bytes(label.read_bytes()[:50])
    done = cli("prepare", "folder", "raw/train", "out", "--label-set", "lapa", "--processes", 1)
    *problems, last = done.err.splitlines()
    assert (done.code, done.out, len(problems)) == (2, "", 3)
    assert all(line.startswith("error: raw/train/labels/") for line in problems)
    assert last == "error: 3 of 3 could not be prepared"
    assert not Path("out").exists()


def test_photographs_that_are_left_out_are_listed_and_counted(cli: Cli, tmp_path: Path) -> None:
    make_lapa(tmp_path / "raw", (9, 1, 1))
    for label in sorted((tmp_path / "raw" / "train" / "labels").iterdir())[:2]:
        label.unlink()
    done = cli("prepare", "folder", "raw/train", "out", "--label-set", "lapa", "--on-broken", "skip", "--processes", 1)
    assert done.code == 0
    left = [line for line in done.err.splitlines() if line.startswith("left out: ")]
    assert len(left) == 2
    assert all("missing; every image needs its label picture (see --labels)" in line for line in left)
    assert "; 11 classes of lapa; 2 left out" in done.out.splitlines()[0]
    assert sum(len(path.read_text().splitlines()) for path in Path("out").glob("*_list.txt")) == 7
    assert cli("edges", "out", "--processes", 1).code == 0
    assert cli("check", "out", "--processes", 1).code == 0


def test_splits_in_folders_come_through(cli: Cli, tmp_path: Path) -> None:
    make_lapa(tmp_path / "raw")
    arguments = ["--label-set", "lapa", "--images", "{split}/images/*.jpg", "--labels", "{split}/labels/*.png"]
    assert cli("prepare", "folder", "raw", "out", *arguments, "--processes", 1).code == 0
    assert cli("edges", "out", "--processes", 1).code == 0
    assert cli("check", "out", "--processes", 1).code == 0
    for split in ("train", "val", "test"):
        names = sorted(path.stem for path in (tmp_path / "raw" / split / "images").iterdir())
        lines = [f"images/{split}/{name}.jpg labels/{split}/{name}.png" for name in names]
        assert Path(f"out/{split}_list.txt").read_text().splitlines() == lines


def test_nothing_of_a_damaged_archive_is_in_the_dataset_of_the_next(cli: Cli, tmp_path: Path) -> None:
    """Fix the files, and start the same command again: what was done of others is gone."""
    make_lapa(tmp_path / "raw", (3, 1, 1))
    broken = sorted((tmp_path / "raw" / "train" / "labels").iterdir())[0]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:50])
    shutil.make_archive("lapa", "zip", "raw")
    assert "could not be prepared" in cli("prepare", "lapa", "lapa.zip", "out", "--processes", 1).message
    assert Path("out/.unpacked").is_dir()
    broken.write_bytes(whole)
    gone = sorted((tmp_path / "raw" / "train" / "images").iterdir())[1]
    gone.unlink()
    shutil.make_archive("lapa", "zip", "raw")
    assert cli("prepare", "lapa", "lapa.zip", "out", "--processes", 1).code == 0
    names = {path.stem for path in Path("out/images").iterdir()}
    assert names == {path.stem for path in (tmp_path / "raw").glob("*/images/*")}
    assert names == {path.stem for path in Path("out/labels").iterdir()}
    assert gone.stem not in Path("out/train_list.txt").read_text()


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_a_cut_archive_leaves_no_dataset(cli: Cli, tmp_path: Path, kind: str) -> None:
    make_lapa(tmp_path / "raw", (3, 1, 1))
    archive = Path(shutil.make_archive("lapa", kind, "raw"))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3 // 512 * 512])
    message = cli("prepare", "lapa", archive.name, "out").message
    assert message.startswith(f"{archive.name}: damaged archive (")
    assert message.endswith("); download it again")
    assert not Path("out/train_list.txt").exists()


def test_an_archive_that_leads_outside_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("")
    with tarfile.open("lapa.tar", "w") as tar:
        tar.add("evil", "../evil2")
    message = cli("prepare", "lapa", "lapa.tar", "out").message
    assert message == "lapa.tar: '../evil2' would be written outside the folder; unpack it yourself"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--size", 64], "--size: has no effect without alignment; add --align auto, or leave it out"),
        (["--on-missing", "skip"], "--on-missing: has no effect without alignment; add --align auto, or leave it out"),
        (["--align", "points"], "--align 'points': not one of auto, landmarks, labels, none"),
        (["--align", "landmarks", "--template", "x"], "--template 'x': not farl, nor a .toml file with size and five"),
        (["--align", "auto", "--on-missing", "x"], "--on-missing 'x': not one of identity, skip, fail"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, tmp_path: Path, arguments: list[Any], expected: str) -> None:
    make_lapa(tmp_path / "raw", (1, 1, 1))
    assert cli("prepare", "lapa", "raw", "out", *arguments).message.startswith(expected)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("archive", [False, True])
def test_a_disk_that_fills_half_way_is_one_line_and_costs_nothing(
    faceparse: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path, processes: int, archive: bool
) -> None:
    raw: Path | str = make_lapa(tmp_path / "raw")
    sizes = sorted(path.stat().st_size for path in tmp_path.rglob("*.jpg"))
    limit = sizes[len(sizes) // 2]  # half of the images are too large to be written
    raw = shutil.make_archive("lapa", "zip", raw) if archive else raw
    command = ["prepare", "lapa", raw, "out", "--processes", processes]
    done = faceparse(*command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cannot write ")
    assert done.stderr.endswith(": File too large; free space or choose another place\n")
    assert done.stderr.count("\n") == 1
    assert not list(Path("out").glob("*_list.txt"))
    assert not [path for path in Path("out").rglob(".*") if path.suffix == ".tmp"]
    assert faceparse(*command).returncode == 0
    assert faceparse("prepare", "lapa", "raw", "whole").returncode == 0
    for path in Path("whole").rglob("*.*g"):
        assert path.read_bytes() == (Path("out") / path.relative_to("whole")).read_bytes()
