import io
import json
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceparse.core.files import remote
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.training.run import RunResult
from tests.core.prediction.films import make_video

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
    assert done.out == "out: 3 parsed, 1 left out (see out/failed.csv)\n"
    assert done.err == f"left out: {tmp_path / 'broken.png'}: not a readable image; replace the file\n"
    assert len(list(Path("out/labels").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: no such photograph, video or folder"),
        (["."], ".: no photographs or videos in it (.jpg, "),
        ([], "nothing to parse; name photographs, videos or folders, or a --from-file list of them"),
        (["--from-file", "nothing.txt"], "cannot read nothing.txt: No such file or directory"),
        (["{image}", "--save", "polygons"], "--save 'polygons': not one of labels, "),
        (["{image}", "--faces", "nothing.onnx"], "cannot read nothing.onnx: No such file or directory"),
        (["{image}", "--column", "photo"], "--column is for Parquet files, and there are none among the inputs"),
        (["nonsense://a"], "nonsense://a: fsspec knows no nonsense://; correct the address"),
        (["zip::s3://b/a.zip"], "zip::s3://b/a.zip: addresses with :: are not read; name one place"),
        (["{image}", "--retry-failed"], "--retry-failed is for a command that goes on; add --resume"),
        (["{image}", "--shard", "0/4"], "--shard 0/4: write 1/16 to 16/16 for 16 parts"),
        (["{image}", "webcam:0", "--shard", "1/4"], "--shard 1/4: a camera has no parts; leave out webcam:0"),
        (["{image}", "--smooth", "0.5"], "--smooth is for videos"),
        (["{image}", "--ray-actors", "2"], "--ray-actors and --ray-threads are for --ray; add --ray local, auto or "),
        (["{image}", "--ray", "head"], "--ray head: write local, auto, or HOST:PORT of a cluster's head"),
        (["{image}", "--ray", "local", "--gpus", "0"], "--gpus: with --ray, Ray gives each copy of the model a GPU"),
        (["{image}", "--ray", "local", "--device", "mps"], "--device mps: with --ray, Ray gives each actor a GPU"),
        (["{image}", "--to", "zip"], "--to 'zip': not one of files, parquet, webdataset"),
        (["{image}", "--to", "parquet", "--save", "npy"], "--save npy: --to parquet holds labels and coco alone, "),
        (["{image}", "--report", "--shard", "1/2"], "--report is about all shards; leave out --shard 1/2, and add "),
        (["webcam:0", "--report"], "--report is about photographs, and there are only videos; leave it out"),
        (["webcam:0", "--to", "parquet"], "--to parquet is for photographs, and there are only videos; leave it out"),
        (["{image}", "--device", "tpu"], "device 'tpu': not one of auto, cpu, cuda, cuda:N, mps"),
        (["{image}", "--device", "mps"], "device 'mps': this torch finds no GPU of Apple's here; use --device cpu"),
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


def test_a_command_goes_on_after_kills_and_the_union_is_exact(
    cli: Any, trained: RunResult, faces: Path, tmp_path: Path
) -> None:
    """Two kills of a real process, as soon as it has written some photographs."""
    (tmp_path / "photos").mkdir()
    for n, path in enumerate(3 * sorted((faces / "images").iterdir())):
        shutil.copy(path, tmp_path / "photos" / f"{n}.jpg")
    options = ["photos", "--faces", "none", "--save", "labels,json,coco", "--batch-size", 1, "--device", "cpu"]
    assert cli("predict", trained.best, *options, "-o", "whole").out == "whole: 48 parsed\n"
    dice, labels = random.Random(0), Path("out/labels")
    command = [sys.executable, "-m", "faceparse.cli", "predict", trained.best, *options, "-o", "out", "--resume"]
    for _ in range(2):
        before = len(list(labels.glob("*.png")))
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until = before + dice.randrange(2, 20)
        while process.poll() is None and len(list(labels.glob("*.png"))) < until:
            time.sleep(0.001)
        process.kill()
        process.communicate()
    made = {path: path.stat().st_mtime_ns for path in labels.glob("*.png")}
    done = cli("predict", trained.best, *options, "-o", "out", "--resume")
    parsed, before = map(int, re.fullmatch(r"out: (\d+) parsed, (\d+) before\n", done.out).groups())  # type: ignore[union-attr]
    assert done.err.startswith(f"out: goes on; {before} of 48 photographs are parsed already\n")
    assert (done.code, parsed + before) == (0, 48)
    assert sum(path.stat().st_mtime_ns == at for path, at in made.items()) >= before
    assert len(made) - before <= 10  # in flight: the two kills' batches
    for folder in ("labels", "json"):
        whole = {path.name: path.read_bytes() for path in Path("whole", folder).iterdir()}
        assert {path.name: path.read_bytes() for path in Path("out", folder).iterdir()} == whole
    assert Path("out/coco.json").read_bytes() == Path("whole/coco.json").read_bytes()


SMALL_PARTS = """
from faceparse.core.prediction import output_parts
output_parts.MOST_PHOTOGRAPHS = 5
from faceparse.cli import main
main()
"""
"""The command, with parts of five photographs."""


def part_names(kind: str) -> list[str]:
    """Names of all photographs in parts, sorted, with what is there twice."""
    found = list[str]()
    for path in Path("out", kind).glob("part-*"):
        if kind == "parquet":
            found += pq.read_table(path, columns=["name"]).column(0).to_pylist()
            continue
        with tarfile.open(path) as tar:
            texts = [tar.extractfile(member) for member in tar if member.name.endswith(".json")]
            found += [json.loads(text.read())["name"] for text in texts if text is not None]
    return sorted(found)


def parsed_rows(ledger: Path) -> int:
    """Number of photographs whose outputs a ledger has or names."""
    with closing(sqlite3.connect(ledger)) as rows:
        counts = [rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("photographs", "open_part")]
    return sum(counts)


@pytest.fixture
def parts_command(trained: RunResult, faces: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """Command that parses 96 photographs into small parts of a kind."""
    (tmp_path / "photos").mkdir()
    for n, path in enumerate(6 * sorted((faces / "images").iterdir())):
        shutil.copy(path, tmp_path / "photos" / f"{n}.jpg")
    options = ["--faces", "none", "--batch-size", "1", "--device", "cpu", "-o", "out", "--resume"]
    start = [sys.executable, "-c", SMALL_PARTS, "predict", str(trained.best), "photos", *options]
    return lambda kind: [*start, "--to", kind]


def run_until(command: list[str], kind: str, new: int) -> "subprocess.Popen[bytes]":
    """Start a command; return when it has written so many new parts, or has ended."""
    before = len(list(Path("out", kind).glob("part-*")))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and len(list(Path("out", kind).glob("part-*"))) < before + new:
        time.sleep(0.001)
    return process


@pytest.mark.parametrize("kind", ["parquet", "webdataset"])
def test_kills_leave_no_photograph_twice_and_the_union_is_exact(
    parts_command: Callable[[str], list[str]], kind: str
) -> None:
    dice = random.Random(kind)
    for _ in range(2 if kind == "parquet" else 1):
        process = run_until(parts_command(kind), kind, dice.randrange(1, 9))
        time.sleep(dice.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert len(part_names(kind)) == len(set(part_names(kind))) > 0
    kept = parsed_rows(Path("out/ledger/all.sqlite"))
    before = {path: path.stat().st_mtime_ns for path in Path("out", kind).glob("part-*")}
    done = subprocess.run(parts_command(kind), capture_output=True, text=True)
    found = re.fullmatch(r"out: (\d+) parsed(?:, (\d+) before)?\n", done.stdout)
    assert found, done.stderr
    assert (int(found[1]) + int(found[2]), int(found[2])) == (96, kept)
    assert part_names(kind) == sorted(map(str, range(96)))
    after = {path: path.stat().st_mtime_ns for path in Path("out", kind).iterdir()}
    assert len(before.items() - after.items()) <= 1  # a part without its rows, which is written again
    assert all(path.name.startswith("part-") for path in after)


@pytest.mark.parametrize(
    ("kind", "number", "code", "said"),
    [
        ("parquet", signal.SIGTERM, 143, "out: stopped; --resume goes on\n"),
        ("webdataset", signal.SIGINT, 130, "interrupted\n"),
    ],
)
def test_a_command_that_is_told_to_stop_writes_its_open_part(
    parts_command: Callable[[str], list[str]], kind: str, number: signal.Signals, code: int, said: str
) -> None:
    process = run_until(parts_command(kind), kind, 3)
    process.send_signal(number)
    _, told = process.communicate()
    assert (process.returncode, told.decode().splitlines(keepends=True)[-1]) == (code, said)
    kept = part_names(kind)
    assert len(kept) == len(set(kept))
    assert {path.name[:5] for path in Path("out", kind).iterdir()} == {"part-"}
    done = subprocess.run(parts_command(kind), capture_output=True, text=True)
    assert done.stdout == f"out: {96 - len(kept)} parsed, {len(kept)} before\n"
    assert part_names(kind) == sorted(map(str, range(96)))


def test_a_part_that_does_not_fit_on_the_disk_ends_it_in_one_line(
    faceparse: Callable[..., "subprocess.CompletedProcess[str]"], trained: RunResult, tmp_path: Path
) -> None:
    """A file may have fewer bytes than the part would have."""
    noise = np.random.default_rng(0)
    for n in range(4):
        write_atomic(tmp_path / "photos" / f"{n}.png", encode_png(noise.integers(0, 256, (128, 128, 3), np.uint8)))
    options = ["photos", "--faces", "none", "--device", "cpu", "--to", "webdataset", "-o", "out"]
    limit = (180_000, 180_000)
    done = faceparse(
        "predict", trained.best, *options, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert done.returncode == 2
    expected = r"error: cannot write out/ledger/all.sqlite: disk I/O error; free space or choose another place\n"
    assert re.fullmatch(expected, done.stderr)
    done = faceparse("predict", trained.best, *options, "--resume")
    assert re.fullmatch(r"out: (3 parsed, 1|2 parsed, 2|1 parsed, 3) before\n", done.stdout), done
    assert part_names("webdataset") == ["0", "1", "2", "3"]


def test_a_table_goes_on_after_a_kill(cli: Any, trained: RunResult, faces: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pyarrow
    import pyarrow.parquet

    cells = [{"bytes": path.read_bytes(), "path": None} for path in 2 * sorted((faces / "images").iterdir())]
    pyarrow.parquet.write_table(pyarrow.table({"photo": cells}), "t.parquet", row_group_size=10)
    options = ["t.parquet", "--faces", "none", "--save", "labels", "--batch-size", 1, "--device", "cpu"]
    assert cli("predict", trained.best, *options, "-o", "whole").out == "whole: 32 parsed\n"
    labels = Path("out/labels/t")
    command = [sys.executable, "-m", "faceparse.cli", "predict", trained.best, *options, "-o", "out", "--resume"]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while process.poll() is None and len(list(labels.glob("*.png"))) < 5:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    made = {path: path.stat().st_mtime_ns for path in labels.glob("*.png")}
    done = cli("predict", trained.best, *options, "-o", "out", "--resume")
    parsed, before = map(int, re.fullmatch(r"out: (\d+) parsed, (\d+) before\n", done.out).groups())  # type: ignore[union-attr]
    assert (done.code, parsed + before) == (0, 32)
    assert 0 < before < 32
    assert sum(path.stat().st_mtime_ns == at for path, at in made.items()) >= before
    for path in Path("whole/labels/t").iterdir():
        assert (labels / path.name).read_bytes() == path.read_bytes()
    assert len(list(labels.iterdir())) == 32


def test_photographs_of_a_bucket_are_parsed_and_lost_ones_listed(
    cli: Any, trained: RunResult, faces: Path, bucket: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = sorted((faces / "images").iterdir())
    for name, path in (("a/1.jpg", first), ("a/2.jpg", second), ("a/gone.jpg", first)):
        bucket(name, path.read_bytes())
    find = remote.find_remote

    def find_then_lose(address: str, **options: Any) -> Any:
        found = find(address, **options)
        fsspec.filesystem("s3").rm_file("photos/a/gone.jpg")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("faceparse.core.images.photograph_sources.find_remote", find_then_lose)
        done = cli("predict", trained.best, "s3://photos/a", "--save", "labels,json", "-o", "out")
    assert (done.code, done.out) == (1, "out: 2 parsed, 1 left out (see out/failed.csv)\n")
    assert done.err == "left out: s3://photos/a/gone.jpg: no such file, folder or bucket; correct the address\n"
    assert json.loads(Path("out/json/1.json").read_text())["source"] == "s3://photos/a/1.jpg"
    assert cli("predict", trained.best, first, "--save", "labels", "-o", "here").code == 0
    assert Path("out/labels/1.png").read_bytes() == Path("here/labels", f"{first.stem}.png").read_bytes()
    listed = cli("predict", trained.best, "--from-file", "list.txt", "-o", "out", "--resume", "--save", "labels,json")
    assert listed.message.startswith("cannot read list.txt")
    Path("list.txt").write_text("s3://photos/a/1.jpg\ns3://photos/a/2.jpg\n")
    done = cli("predict", trained.best, "--from-file", "list.txt", "-o", "out", "--resume", "--save", "labels,json")
    assert (done.code, done.out) == (0, "out: 0 parsed, 2 before\n")


def test_another_model_is_refused_and_broken_photographs_are_remembered(
    cli: Any, trained: RunResult, light: Path, faces: Path, tmp_path: Path
) -> None:
    shutil.copy(next((faces / "images").iterdir()), tmp_path / "a.jpg")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    options = ["a.jpg", "b.png", "--resume"]
    assert cli("predict", trained.best, *options).code == 1
    done = cli("predict", trained.best, *options)
    assert (done.code, done.err) == (1, "predictions: goes on; 1 of 2 photographs are parsed already\n")
    assert done.out == "predictions: 0 parsed, 1 before, 1 left out (see predictions/failed.csv)\n"
    assert cli("predict", trained.best, *options, "--retry-failed").err.endswith(
        "left out: b.png: not a readable image; replace the file\n"
    )
    shutil.copy(trained.best, "other.pth")
    assert cli("predict", "other.pth", *options).code == 1  # the same model
    message = cli("predict", trained.best, *options, "--input-size", "96,96").message
    assert message.startswith("predictions: its outputs were made with --input-size 64,64, now 96,96; use the same ")
    message = cli("predict", light, *options).message
    assert re.match(
        r"predictions: its outputs were made with model [0-9a-f]{12}\.\.\., now [0-9a-f]{12}\.\.\.; ", message
    )


def test_a_missing_checkpoint_is_refused(cli: Any, faces: Path, tree: Tree) -> None:
    assert cli("predict", "nothing.pth", faces / "images").message == "nothing.pth: no such checkpoint file"
    assert tree() == {}
    Path("e.bundle").mkdir()
    message = "e.bundle/SHA256SUMS: is missing from the bundle; copy the bundle again"
    assert cli("predict", "e.bundle", faces / "images").message == message
    assert cli("eval", "e.bundle").message == message


def test_photographs_without_a_face_are_listed_and_no_error(
    cli: Any, trained: RunResult, faces: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted((faces / "images").iterdir())
    Path("boxes.json").write_text(json.dumps({first.name: [[18, 14, 36, 48]], second.name: []}))
    options = ["--faces", "boxes.json", "--save", "labels,cutouts,coco,json", "--classes", "hair,skin"]
    done = cli("predict", trained.best, first, second, *options)
    expected = "predictions: 2 parsed, 1 without a face (--faces none parses whole pictures)\n"
    assert (done.code, done.out, done.err) == (0, expected, f"no face: {second}\n")
    shutil.rmtree("predictions/ledger")
    found = sorted(str(path.relative_to("predictions")) for path in Path("predictions").rglob("*.*"))
    names = [
        f"{kind}/{path.stem}.{suffix}"
        for kind, suffix in (("cutouts", "png"), ("json", "json"), ("labels", "png"))
        for path in (first, second)
    ]
    assert found == sorted(["coco.json", *names])
    assert json.loads(Path(f"predictions/json/{first.stem}.json").read_text())["faces"][0]["box"] == [18, 14, 36, 48]


def test_inputs_come_from_a_list_or_standard_input(
    cli: Any, trained: RunResult, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = sorted((faces / "images").iterdir())
    Path("list.txt").write_text(f"{second}\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(first.read_bytes())))
    assert cli("predict", trained.best, "-", "--from-file", "list.txt", "-o", "one").out == "one: 2 parsed\n"
    assert {path.stem for path in Path("one/labels").iterdir()} == {"stdin", second.stem}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{first}\n{second}\n".encode())))
    assert cli("predict", trained.best, "--from-file", "-", "-o", "two").out == "two: 2 parsed\n"
    assert {path.stem for path in Path("two/labels").iterdir()} == {first.stem, second.stem}


def test_a_video_is_told_with_its_rate_and_flicker(cli: Any, trained: RunResult, faces: Path) -> None:
    images = [read_image(path) for path in sorted((faces / "images").iterdir())]
    random = np.random.default_rng(0)
    shown = [np.clip(images[0] + random.normal(0, 2, images[0].shape), 0, 255).astype(np.uint8) for _ in range(6)]
    make_video(Path("film.mp4"), shown)
    noise = [random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(50)]
    make_video(Path("cut.mp4"), noise, index_first=True, sound=None)
    Path("cut.mp4").write_bytes(Path("cut.mp4").read_bytes()[:-150_000])
    done = cli("predict", trained.best, "film.mp4", "cut.mp4", "--smooth", 0.8)
    assert done.code == 1
    first, second, last = done.out.splitlines()
    assert re.fullmatch(r"film.mp4: 6 frames, [0-9.]+/s, flicker [0-9.]+%, [0-9.]+% smoothed", first)
    assert re.match(r"cut.mp4: \d+ frames, [0-9.]+/s", second)
    assert last == "predictions: 2 parsed"
    assert re.fullmatch(r"cut short: cut.mp4: .* of 2.0 s; what could be read is parsed\n", done.err)


def test_a_disk_that_is_full_ends_it_in_one_line(
    faceparse: Callable[..., "subprocess.CompletedProcess[str]"], trained: RunResult, faces: Path
) -> None:
    """A file may have a few bytes only: the film's first block does not fit."""
    image = read_image(next((faces / "images").iterdir()))
    random = np.random.default_rng(0)
    make_video(Path("film.mp4"), [random.integers(0, 256, image.shape, dtype=np.uint8) for _ in range(30)])
    limit = (50_000, 50_000)
    done = faceparse(
        "predict", trained.best, "film.mp4", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    expected = "error: cannot write predictions/overlays/film.mp4: File too large; free space or choose another place\n"
    assert (done.returncode, done.stderr) == (2, expected)
    assert [path for path in Path("predictions").rglob("*") if path.is_file()] == []


def test_a_registered_model_predicts_and_says_which_it_was(cli: Any, registered: str, faces: Path) -> None:
    photograph = next((faces / "images").iterdir())
    done = cli("predict", "models:/parser@champion", photograph, "--save", "json")
    assert (done.code, done.out, done.err) == (0, "predictions: 1 parsed\n", "")
    assert json.loads(Path(f"predictions/json/{photograph.stem}.json").read_text())["model"] == registered
    assert cli("predict", "models:/parser@best", photograph).message.startswith(
        "models:/parser@best: not in MLflow at "
    )
