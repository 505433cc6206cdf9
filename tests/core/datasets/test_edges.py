"""Edge maps: the same as a loop over the pixels, and made only where they are stale."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.edges import pixel_loop
from faceparse.core.datasets.edges import EdgesReport, label_edges, update_edges
from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.read_label import read_label

RANDOM = np.random.default_rng(0)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Labels alone, one of them in a folder of its own."""
    root = tmp_path / "dataset"
    for name in ("a", "b", "inner/c", "inner/deeper/d.e"):
        path = root / "labels" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(RANDOM.integers(0, 3, (12, 15), dtype=np.uint8)))
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def age(path: Path, seconds: int) -> None:
    """Make a file older (or with a negative number newer) than it is."""
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - seconds * 10**9))


@pytest.mark.parametrize("values", [2, 3, 11, 256])
@pytest.mark.parametrize("shape", [(17, 23), (2, 2), (1, 12), (12, 1), (1, 1)])
def test_edges_are_those_of_a_loop_over_the_pixels(shape: tuple[int, int], values: int) -> None:
    for _ in range(5):
        label = RANDOM.integers(0, values, shape).astype(np.uint8)
        edge = label_edges(label)
        assert edge.dtype == np.uint8
        assert np.array_equal(edge, pixel_loop(label))


@pytest.mark.parametrize("shape", [(9, 7), (1, 7), (9, 1)])
def test_a_label_of_one_class_has_no_edges(shape: tuple[int, int]) -> None:
    assert not label_edges(np.full(shape, 255, np.uint8)).any()


def test_both_sides_of_a_border_are_marked_and_corners_are_not() -> None:
    label = np.zeros((5, 5), np.uint8)
    label[2, 2] = 1
    assert (label_edges(label) // 255).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_a_view_of_a_larger_label_has_the_edges_of_its_copy() -> None:
    label = RANDOM.integers(0, 3, (20, 30), dtype=np.uint8)
    view = label[3:17:2, ::-3]
    assert np.array_equal(label_edges(view), pixel_loop(view.copy()))


def test_every_label_gets_an_edge_map_at_the_same_place(dataset: Path) -> None:
    assert update_edges(dataset) == EdgesReport(made=4, fresh=0)
    assert set(contents(dataset / "edges")) == set(contents(dataset / "labels"))
    for path in (dataset / "labels").rglob("*.png"):
        edge = read_label(dataset / "edges" / path.relative_to(dataset / "labels"))
        assert np.array_equal(edge, pixel_loop(read_label(path)))


def test_a_second_time_nothing_is_made(dataset: Path) -> None:
    update_edges(dataset)
    before = {path: path.stat().st_mtime_ns for path in (dataset / "edges").rglob("*.png")}
    assert update_edges(dataset) == EdgesReport(made=0, fresh=4)
    assert {path: path.stat().st_mtime_ns for path in (dataset / "edges").rglob("*.png")} == before


def test_only_maps_older_than_their_label_or_missing_are_redone(dataset: Path) -> None:
    update_edges(dataset)
    for name in ("a", "b"):  # rubbish tells what was left alone
        (dataset / "edges" / f"{name}.png").write_bytes(b"rubbish")
    age(dataset / "edges" / "a.png", 10**6)
    (dataset / "edges" / "inner" / "c.png").unlink()
    assert update_edges(dataset) == EdgesReport(made=2, fresh=2)
    assert (dataset / "edges" / "b.png").read_bytes() == b"rubbish"
    for name in ("a", "inner/c"):
        edge = read_label(dataset / "edges" / f"{name}.png")
        assert np.array_equal(edge, pixel_loop(read_label(dataset / "labels" / f"{name}.png")))


def test_a_map_as_old_as_its_label_is_fresh(dataset: Path) -> None:
    update_edges(dataset)
    label, edge = dataset / "labels" / "a.png", dataset / "edges" / "a.png"
    os.utime(edge, ns=(label.stat().st_mtime_ns,) * 2)
    assert update_edges(dataset).made == 0
    os.utime(edge, ns=(label.stat().st_mtime_ns - 1,) * 2)
    assert update_edges(dataset).made == 1


def test_a_map_from_the_future_is_redone(dataset: Path) -> None:
    """The clock was set back: the map may be older than its label after all."""
    update_edges(dataset)
    edge = next((dataset / "edges").rglob("*.png"))
    os.utime(edge, (time.time() + 86400,) * 2)
    assert update_edges(dataset).made == 1
    assert update_edges(dataset).made == 0


def test_force_redoes_all(dataset: Path) -> None:
    update_edges(dataset)
    expected = contents(dataset / "edges")
    for path in (dataset / "edges").rglob("*.png"):
        path.write_bytes(b"rubbish")
    assert update_edges(dataset, force=True) == EdgesReport(made=4, fresh=0)
    assert contents(dataset / "edges") == expected


def test_files_of_others_survive(dataset: Path) -> None:
    (dataset / "edges").mkdir()
    (dataset / "edges" / "notes.txt").write_text("mine")
    (dataset / "edges" / "of_no_label.png").write_text("mine, too")
    update_edges(dataset, force=True)
    assert (dataset / "edges" / "notes.txt").read_text() == "mine"
    assert (dataset / "edges" / "of_no_label.png").read_text() == "mine, too"


def test_two_processes_write_the_same_bytes_as_one(dataset: Path) -> None:
    update_edges(dataset, processes=1)
    alone = contents(dataset / "edges")
    assert update_edges(dataset, force=True, processes=2) == EdgesReport(made=4, fresh=0)
    assert contents(dataset / "edges") == alone


def test_palette_labels_have_the_edges_of_their_indices(dataset: Path) -> None:
    label = RANDOM.integers(0, 3, (12, 15), dtype=np.uint8)
    grey = np.array([[80, 80, 80]] * 3, np.uint8)  # three classes of one colour
    write_palette_png(dataset / "labels" / "a.png", label, grey)
    update_edges(dataset)
    assert np.array_equal(read_label(dataset / "edges" / "a.png"), pixel_loop(label))


def test_progress_is_told(dataset: Path) -> None:
    told = []

    def track(items: object, total: int, what: str) -> object:
        told.append((total, what))
        return items

    update_edges(dataset, track=track)  # type: ignore[arg-type]
    assert told == [(4, "edges")]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_unreadable_label_is_named(dataset: Path, processes: int) -> None:
    broken = dataset / "labels" / "b.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DatasetError) as caught:
        update_edges(dataset, processes=processes)
    assert str(caught.value) == f"{broken}: truncated or damaged PNG; replace the file"


def test_a_dataset_without_labels_says_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        update_edges(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'labels'}: no such folder; edges are made from the label PNGs")
    assert "faceparse prepare" in str(caught.value)
    (tmp_path / "labels").mkdir()
    with pytest.raises(DatasetError, match=r"labels: no label PNGs in it$"):
        update_edges(tmp_path)
    assert not (tmp_path / "edges").exists()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(dataset: Path) -> None:
    (dataset / "edges").write_bytes(b"a file in its place")
    with pytest.raises(OutputError, match=r"cannot write .*edges: File exists; choose another place"):
        update_edges(dataset)


def test_edge_maps_are_written_inside_the_dataset_alone(dataset: Path, tmp_path: Path) -> None:
    """A stranger's dataset may hold links to anything."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_text("mine")
    (dataset / "edges").symlink_to(elsewhere)
    with pytest.raises(OutputError, match=r"edges: a link leads to .*elsewhere, outside .*; put a file or "):
        update_edges(dataset, force=True)
    (dataset / "edges").unlink()
    (dataset / "edges").mkdir()
    (dataset / "edges" / "a.png").symlink_to(elsewhere / "a.png")
    with pytest.raises(OutputError, match=r"edges/a\.png: a link leads to "):
        update_edges(dataset, force=True)
    assert contents(elsewhere) == {"a.png": b"mine"}


def test_a_dataset_may_be_reached_by_a_link(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dataset)
    assert update_edges(tmp_path / "link").made == 4
