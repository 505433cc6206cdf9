"""From any source to the canonical layout: whole, resumable, and the same however often it was interrupted."""

import math
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.datasets.lapa import Lapa
from faceparse.core.datasets.layout import SPLITS, DatasetFolder, folder_label_set
from faceparse.core.datasets.prepare import PrepareReport, prepare
from faceparse.core.datasets.source import Item, Raw, WithoutLandmarks
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.faces.alignment import harden, make_alignment
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.images.pictures import read_image, read_label
from faceparse.core.labels.label_set import get_label_set
from tests.raw import make_lapa

RANDOM = np.random.default_rng(0)
SIZE = (20, 30)


class Given(WithoutLandmarks):
    """A source that holds its photographs itself."""

    def __init__(self, pairs: Mapping[str, Raw | Exception], splits: dict[str, str] | None = None) -> None:
        self.label_set = get_label_set("helen")
        self.pairs = pairs
        self.splits = splits or dict.fromkeys(pairs, "train")

    def items(self) -> list[Item]:
        return [Item(name, self.splits[name]) for name in self.pairs]

    def load(self, item: Item) -> Raw:
        pair = self.pairs[item.id]
        if isinstance(pair, Exception):
            raise pair
        return pair

    def describe(self) -> dict[str, Any]:
        return {"source": "given", "names": sorted(self.pairs), "share": 0.1}


def pair(label: np.ndarray | None = None) -> Raw:
    image = RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Raw(image, RANDOM.integers(0, 11, SIZE, dtype=np.uint8) if label is None else label)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lists(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*_list.txt"))


def test_a_source_becomes_the_canonical_layout(tmp_path: Path) -> None:
    pairs = {name: pair() for name in ("d", "a", "c", "b")}
    source = Given(pairs, {"d": "train", "a": "test", "c": "train", "b": "val"})
    out = tmp_path / "new" / "out"
    assert prepare(source, out) == PrepareReport({"train": 2, "val": 1, "test": 1}, done=4)
    assert (out / "train_list.txt").read_text() == "images/c.jpg labels/c.png\nimages/d.jpg labels/d.png\n"
    assert (out / "val_list.txt").read_text() == "images/b.jpg labels/b.png\n"
    assert folder_label_set(out) == source.label_set
    for split in SPLITS:
        for sample in DatasetFolder(out).samples(split):
            assert np.array_equal(read_label(sample.label), pairs[sample.id].label)
            assert read_image(sample.image).shape == (*SIZE, 3)


def test_colours_are_not_swapped_on_the_way(tmp_path: Path) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = 200
    prepare(Given({"a": Raw(image, np.zeros(SIZE, np.uint8))}), tmp_path / "out")
    red, green, blue = read_image(tmp_path / "out" / "images" / "a.jpg").reshape(-1, 3).mean(axis=0)
    assert red > 190
    assert max(green, blue) < 10


def test_bytes_of_a_jpeg_are_kept(tmp_path: Path) -> None:
    image = RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    data = encode_jpeg(image, quality=70)
    prepare(Given({"a": Raw(image, np.zeros(SIZE, np.uint8), data)}), tmp_path / "out")
    assert (tmp_path / "out" / "images" / "a.jpg").read_bytes() == data


def test_splits_without_photographs_have_no_list(tmp_path: Path) -> None:
    assert prepare(Given({"a": pair()}), tmp_path / "out").splits == {"train": 1}
    assert lists(tmp_path / "out") == ["train_list.txt"]


def test_a_source_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^the source holds no photographs$"):
        prepare(Given({}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ignored_pixels_are_kept(tmp_path: Path) -> None:
    label = np.full(SIZE, 255, np.uint8)
    prepare(Given({"a": pair(label)}), tmp_path / "out")
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "a.png"), label)


def test_all_broken_photographs_are_told_at_once_and_no_list_is_written(tmp_path: Path) -> None:
    pairs: dict[str, Raw | Exception] = {
        "a": pair(),
        "b": DatasetError("b.jpg: truncated"),
        "c": pair(np.full(SIZE, 37, np.uint8)),
        "d": pair(np.zeros((4, 7), np.uint8)),
        "e": pair(),
    }
    with pytest.raises(DatasetError) as caught:
        prepare(Given(pairs), tmp_path / "out")
    assert str(caught.value) == (
        "3 of 5 could not be prepared: b.jpg: truncated; "
        "c: value 37 is not one of the 11 classes (0 to 10, 255 ignored); "
        "a label set names all ids of its labels, of which [merged] scores several as one; "
        "d: label is 7 x 4, its image 30 x 20"
    )
    assert lists(tmp_path / "out") == []


def test_of_very_many_broken_photographs_ten_are_named(tmp_path: Path) -> None:
    pairs: dict[str, Raw | Exception] = {f"n{i:02}": DatasetError(f"bad {i:02}") for i in range(13)}
    with pytest.raises(DatasetError) as caught:
        prepare(Given(pairs), tmp_path / "out")
    assert str(caught.value).startswith("13 of 13 could not be prepared: bad 00; bad 01; ")
    assert str(caught.value).endswith("bad 09; and 3 more")


def test_a_mended_source_is_prepared_into_the_folder_where_it_failed(tmp_path: Path) -> None:
    pairs: dict[str, Raw | Exception] = {"a": pair(), "b": DatasetError("b.jpg: truncated")}
    with pytest.raises(DatasetError):
        prepare(Given(pairs), tmp_path / "out")
    pairs["b"] = pair()
    assert prepare(Given(pairs), tmp_path / "out").splits == {"train": 2}


def test_a_full_disk_ends_the_work_at_once(tmp_path: Path) -> None:
    pairs: dict[str, Raw | Exception] = {"a": OutputError("cannot write x: full"), "b": DatasetError("broken")}
    with pytest.raises(OutputError, match=r"^cannot write x: full$"):
        prepare(Given(pairs), tmp_path / "out")
    assert lists(tmp_path / "out") == []


def test_the_folder_says_what_it_was_made_from(tmp_path: Path) -> None:
    source = Given({"a": pair()})
    prepare(source, tmp_path / "out")
    assert tomllib.loads((tmp_path / "out" / "prepared.toml").read_text()) == source.describe()


def test_the_same_source_again_is_fine(tmp_path: Path) -> None:
    source = Given({"a": pair(), "b": pair()})
    prepare(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    prepare(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_another_source_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    prepare(Given({"a": pair()}), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError) as caught:
        prepare(Given({"a": pair(), "b": pair()}), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: was prepared from another source or with other options (see prepared.toml); "
        "choose another folder"
    )
    assert contents(tmp_path / "out") == before


def test_other_options_of_the_same_source_are_refused(tmp_path: Path) -> None:
    prepare(Synthetic(count=4, size=32), tmp_path / "out")
    with pytest.raises(OutputError, match="other options"):
        prepare(Synthetic(count=4, size=32, seed=1), tmp_path / "out")


def test_a_damaged_note_is_not_that_of_the_same_source(tmp_path: Path) -> None:
    prepare(Given({"a": pair()}), tmp_path / "out")
    (tmp_path / "out" / "prepared.toml").write_bytes(b"\xff\x97")
    with pytest.raises(OutputError, match="other options"):
        prepare(Given({"a": pair()}), tmp_path / "out")


def test_damaged_lines_of_the_record_are_prepared_again(tmp_path: Path) -> None:
    source = Given({"a": pair(), "b": pair()})
    prepare(source, tmp_path / "out")
    record = tmp_path / "out" / "prepared.jsonl"
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"id"', b'"\xff\xff"', 1))
    assert prepare(source, tmp_path / "out").done == 1
    assert record.read_bytes() == whole


@pytest.mark.parametrize("name", ["train_list.txt", "test_list.txt", "images/a.jpg", "labels/a.png"])
def test_a_dataset_made_by_hand_is_not_written_over(tmp_path: Path, name: str) -> None:
    own = tmp_path / "out" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(OutputError) as caught:
        prepare(Given({"a": pair()}), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: already holds a dataset that 'faceparse prepare' did not write; choose another folder"
    )
    assert contents(tmp_path / "out") == {name: b"mine"}


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file/out"):
        prepare(Given({"a": AssertionError()}), tmp_path / "file" / "out")


def test_progress_is_told(tmp_path: Path) -> None:
    told = []

    def track(items: Any, total: int, what: str) -> Any:
        told.append((total, what))
        return items

    prepare(Given({"a": pair(), "b": pair()}), tmp_path / "out", track=track)
    assert told == [(2, "prepare")]


def test_soft_maps_become_ids_ties_to_the_lower_one(tmp_path: Path) -> None:
    soft = np.zeros((11, *SIZE), np.uint8)
    soft[3, :, :10], soft[5, :, 5:20], soft[7, :, 5:20] = 200, 210, 210
    prepare(Given({"a": Raw(np.zeros((*SIZE, 3), np.uint8), soft)}), tmp_path / "out")
    expected = np.zeros(SIZE, np.uint8)
    expected[:, :5], expected[:, 5:20] = 3, 5
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "a.png"), expected)


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    source = Given({"a": pair()})
    source.items = lambda: [Item("a", "train", (Path("x/a.jpg"),)), Item("a", "val", (Path("y/a.jpg"),))]  # type: ignore[method-assign]
    with pytest.raises(
        DatasetError, match=r"^x/a.jpg and y/a.jpg: two photographs would both be named 'a'; rename one$"
    ):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Going on.


class Counted(Given):
    """Photographs whose source files are real, and which counts what it reads."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__({f"n{i:02}": pair() for i in range(count)})
        self.files = {name: folder / f"{name}.txt" for name in self.pairs}
        for name, file in self.files.items():
            file.write_text(name)
        self.read: list[str] = []

    def items(self) -> list[Item]:
        return [Item(name, "train", (file,)) for name, file in self.files.items()]

    def load(self, item: Item) -> Raw:
        self.read.append(item.id)
        return super().load(item)

    def describe(self) -> dict[str, Any]:
        return {"source": "counted"}


def test_a_second_run_does_no_work(tmp_path: Path) -> None:
    source, out = Counted(tmp_path, 3), tmp_path / "out"
    first = prepare(source, out)
    dates = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "prepared.toml"}
    source.read.clear()
    second = prepare(source, out)
    assert (first.done, second.done, source.read) == (3, 0, [])
    assert second.splits == first.splits
    assert {path: path.stat().st_mtime_ns for path in dates} == dates


def test_only_what_has_changed_is_done_again(tmp_path: Path) -> None:
    source, out = Counted(tmp_path, 5), tmp_path / "out"
    prepare(source, out)
    source.read.clear()
    source.files["n01"].write_text("another")  # a source file changed,
    (out / "labels" / "n02.png").unlink()  # a result was lost,
    extra = tmp_path / "n05.txt"  # a photograph was added
    extra.write_text("new")
    source.files["n05"], source.pairs = extra, {**source.pairs, "n05": pair()}
    report = prepare(source, out)
    assert (source.read, report.done, report.splits) == (["n01", "n02", "n05"], 3, {"train": 6})
    assert (out / "train_list.txt").read_text().count("\n") == 6


def test_a_photograph_that_is_gone_leaves_the_list(tmp_path: Path) -> None:
    source, out = Counted(tmp_path, 3), tmp_path / "out"
    prepare(source, out)
    del source.files["n01"]
    assert prepare(source, out).splits == {"train": 2}
    assert "n01" not in (out / "train_list.txt").read_text()


def test_broken_photographs_cost_nothing_of_what_is_done(tmp_path: Path) -> None:
    source, out = Counted(tmp_path, 4), tmp_path / "out"
    whole = source.pairs
    source.pairs = {**whole, "n02": DatasetError("n02: truncated")}
    with pytest.raises(DatasetError, match=r"^1 of 4 could not be prepared: n02: truncated$"):
        prepare(source, out)
    source.pairs = whole
    source.read.clear()
    assert prepare(source, out).splits == {"train": 4}
    assert source.read == ["n02"]


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.999])
def test_a_journal_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path, cut: float) -> None:
    source, out = Counted(tmp_path, 6), tmp_path / "out"
    prepare(source, out)
    expected = contents(out)
    journal = (out / "prepared.jsonl").read_bytes()
    for name in ("prepared.jsonl", "train_list.txt"):
        (out / name).unlink()
    (out / ".prepared.jsonl").write_bytes(journal[: int(len(journal) * cut)])
    source.read.clear()
    assert prepare(source, out).splits == {"train": 6}
    assert source.read == [f"n{i:02}" for i in range(journal[: int(len(journal) * cut)].count(b"\n"), 6)]
    assert contents(out) == expected


def test_an_unfinished_folder_is_begun_anew_with_other_options(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = Counted(tmp_path, 2)
    source.pairs = {**source.pairs, "n01": DatasetError("broken")}
    with pytest.raises(DatasetError):
        prepare(source, out)
    prepare(Synthetic(count=4, size=32), out)
    assert tomllib.loads((out / "prepared.toml").read_text())["source"] == "synthetic"


KILLED = ["-m", "faceparse.cli", "prepare", "lapa", "raw", "out", "--align", "landmarks", "--size", "64", "--processes"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path: Path, processes: int) -> None:
    """Killed again and again, each time after a few more photographs."""
    make_lapa(tmp_path / "raw", (14, 3, 3))
    command = [sys.executable, *KILLED, str(processes)]
    assert subprocess.run([*command[:6], "whole", *command[7:]], capture_output=True, timeout=120).returncode == 0
    journal = tmp_path / "out" / ".prepared.jsonl"
    killed = 0
    for limit in (1, 4, 9, 15):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") >= limit):
            time.sleep(0.001)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for path in list((tmp_path / "out").rglob(".*")):  # half-written files of the killed
        assert path.suffix == ".tmp"
        path.unlink()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


# Alignment.

ALIGNMENT = make_alignment("landmarks", size=128, template="farl", on_missing="identity")


class Turned(Given):
    """A face whose five points are dots of one colour, turned, scaled and shifted by a similarity that is known."""

    has_landmarks = True

    def __init__(self, points: np.ndarray, *, soft: bool = False) -> None:
        size = (220, 260)
        y, x = np.mgrid[: size[0], : size[1]]
        image, label = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
        for i, (px, py) in enumerate(points):
            near = (x - px) ** 2 + (y - py) ** 2
            image[..., 0] = np.maximum(image[..., 0], 255 * np.exp(-near / 8))  # a blob with a sharp centre
            label[near < 30] = i + 1
        maps = np.stack([np.where(label == i, 255, 0) for i in range(11)]).astype(np.uint8)
        super().__init__({"a": Raw(image, maps if soft else label)}, {"a": "test"})
        self.given = points

    def points(self, item: Item) -> np.ndarray:
        return self.given


def turned_template(angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Five points, and the 2 x 3 matrix that took them from the template of 128 x 128 pixels."""
    a, b = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    matrix = np.array([[a, -b, 0], [b, a, 0.0]])
    matrix[:, 2] = (130 - matrix[0, :2] @ (64, 72), 110 - matrix[1, :2] @ (64, 72))
    return np.array(ALIGNMENT.template) @ matrix[:, :2].T + matrix[:, 2], matrix


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("angle", "scale"), [(0, 1.0), (23, 1.4), (-71, 0.9), (160, 1.1)])
def test_a_turned_face_comes_back_to_the_template(tmp_path: Path, angle: float, scale: float, soft: bool) -> None:
    points, matrix = turned_template(angle, scale)
    source = Turned(points, soft=soft)
    prepare(source, tmp_path / "out", alignment=ALIGNMENT)
    out = tmp_path / "out"
    image, label = read_image(out / "images" / "a.jpg"), read_label(out / "labels" / "a.png")
    assert image.shape == (128, 128, 3)
    for i, (x, y) in enumerate(ALIGNMENT.template):
        spot = image[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6, 0].astype(float)
        spot[spot < 40] = 0
        v, u = np.mgrid[-5:6, -5:6]
        found = (round(x) + (u * spot).sum() / spot.sum(), round(y) + (v * spot).sum() / spot.sum())
        assert math.dist(found, (x, y)) < 0.5
        rows, columns = np.nonzero(label == i + 1)
        assert math.dist((columns.mean(), rows.mean()), (x, y)) < 0.5
    project = np.load(out / "project" / "a.npy")
    assert project.dtype == np.float64
    assert np.allclose(project, matrix, atol=1e-9)
    raw_label = read_label(out / "labels_raw" / "a.png")
    assert np.array_equal(raw_label, harden(source.pairs["a"].label))  # type: ignore[union-attr]


def test_the_ceiling_is_the_score_of_the_label_after_the_way_there_and_back(tmp_path: Path) -> None:
    points, _ = turned_template(31, 2.1)
    report = prepare(Turned(points), tmp_path / "out", alignment=ALIGNMENT)
    out = tmp_path / "out"
    raw_label, label = read_label(out / "labels_raw" / "a.png"), read_label(out / "labels" / "a.png")
    project = np.load(out / "project" / "a.npy")
    forth = np.linalg.inv(np.vstack([project, [0, 0, 1]]))
    back = np.zeros_like(raw_label)
    for y in range(back.shape[0]):
        for x in range(back.shape[1]):
            u, v, _ = forth @ (x, y, 1)
            u, v = math.floor(u + 0.5), math.floor(v + 0.5)
            if 0 <= u < 128 and 0 <= v < 128:
                back[y, x] = label[v, u]
    assert report.ceiling is not None
    assert set(report.ceiling) == set(get_label_set("helen").names[:6])  # the others are absent
    for i, name in enumerate(report.ceiling):
        f1 = 2 * np.sum((back == i) & (raw_label == i)) / (np.sum(back == i) + np.sum(raw_label == i))
        assert report.ceiling[name] == pytest.approx(f1, abs=2e-3)  # nearest ties may fall either way
    assert 0.5 < min(report.ceiling.values()) < 1
    assert prepare(Turned(points), out, alignment=ALIGNMENT).ceiling == report.ceiling  # without doing it again


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (None, "no landmarks"),
        (np.full((5, 2), np.nan), "a point is missing"),
        (np.array([(20, 20), (60, 20), (40, 40), (28, 60), (300, 60)]), "a point lies outside the image"),
        (np.full((5, 2), 30.0), "the points lie on one spot or on one line"),
        (np.array([(10 * i, 20.0) for i in range(5)]), "the points lie on one spot or on one line"),
        (np.array([(60, 20), (20, 20), (40, 40), (28, 60), (52, 60)]), "the points do not lie like those of a face"),
    ],
)
def test_a_face_without_usable_points_is_handled_by_rule(
    tmp_path: Path, points: np.ndarray | None, reason: str
) -> None:
    good, _ = turned_template(10, 1)
    source = Turned(good)
    source.pairs = {"a": source.pairs["a"], "b": Raw(np.zeros((80, 90, 3), np.uint8), np.zeros((80, 90), np.uint8))}
    source.splits = {"a": "train", "b": "train"}
    source.points = lambda item: good if item.id == "a" else points  # type: ignore

    left = prepare(source, tmp_path / "identity", alignment=ALIGNMENT)
    assert [(o.id, o.status, o.reason) for o in left.without_points] == [("b", "unaligned", reason)]
    assert left.splits == {"train": 2}
    assert read_label(tmp_path / "identity" / "labels" / "b.png").shape == (80, 90)
    assert not (tmp_path / "identity" / "project" / "b.npy").exists()

    skipped = prepare(source, tmp_path / "skip", alignment=replace(ALIGNMENT, on_missing="skip"))
    assert [(o.id, o.status) for o in skipped.without_points] == [("b", "skipped")]
    assert skipped.splits == {"train": 1}
    assert not (tmp_path / "skip" / "images" / "b.jpg").exists()
    assert prepare(source, tmp_path / "skip", alignment=replace(ALIGNMENT, on_missing="skip")).done == 0

    with pytest.raises(DatasetError, match=f"^1 of 2 could not be prepared: b: cannot be aligned, {reason}; see --on"):
        prepare(source, tmp_path / "fail", alignment=replace(ALIGNMENT, on_missing="fail"))
    assert lists(tmp_path / "fail") == []


def test_what_a_source_cannot_offer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--align landmarks: this source has no landmark files; "):
        prepare(Given({"a": pair()}), tmp_path / "out", alignment=ALIGNMENT)
    source = Given({"a": pair()})
    source.label_set = source.label_set.model_copy(update={"landmarks": {}})
    for method in ("labels", "auto"):
        with pytest.raises(SettingsError, match=r"^--align labels: label set 'helen' does not say where "):
            prepare(source, tmp_path / "out", alignment=replace(ALIGNMENT, method=method))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_strangers_journal_removes_nothing_outside(tmp_path: Path) -> None:
    victim = tmp_path / "victim" / "precious.jpg"
    victim.parent.mkdir()
    victim.write_text("x")
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    (out / "prepared.toml").write_text('source = "other"')
    (out / ".prepared.jsonl").write_text(
        '{"id": "../../victim/precious", "split": "train", "source": "x", "status": "kept"}\n'
    )
    prepare(Given({"a": pair()}), out)
    assert victim.is_file()


def test_a_split_that_is_gone_from_the_source_is_gone_from_the_dataset(tmp_path: Path) -> None:
    raw = make_lapa(tmp_path / "raw")
    out = tmp_path / "out"
    prepare(Lapa(raw), out)
    for path in (raw / "val" / "images").iterdir():
        path.unlink()
    assert prepare(Lapa(raw), out).splits == {"train": 4, "test": 2}
    assert not (out / "val_list.txt").exists()
