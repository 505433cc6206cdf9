"""From any source to the canonical layout: whole, resumable, and the same however often it was interrupted."""

import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.datasets.lapa import Lapa
from faceparse.core.datasets.layout import SPLITS, DatasetFolder, folder_label_set
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.prepare_report import PrepareReport
from faceparse.core.datasets.source import Item, Raw
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.files.folder_lock import only_process
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from tests.core.datasets.given import ALIGNMENT, SIZE, Counted, Given, contents, lists, pair
from tests.raw import make_lapa


def test_a_source_becomes_the_canonical_layout(tmp_path: Path) -> None:
    pairs = {name: pair() for name in ("d", "a", "c", "b")}
    source = Given(pairs, {"d": "train", "a": "test", "c": "train", "b": "val"})
    out = tmp_path / "new" / "out"
    assert prepare(source, out) == PrepareReport({"train": 2, "val": 1, "test": 1}, 4, source.label_set)
    assert (out / "train_list.txt").read_text() == "images/c.jpg labels/c.png\nimages/d.jpg labels/d.png\n"
    assert (out / "val_list.txt").read_text() == "images/b.jpg labels/b.png\n"
    assert folder_label_set(out) == source.label_set
    for split in SPLITS:
        for sample in DatasetFolder(out).samples(split):
            assert np.array_equal(read_label(sample.label), pairs[sample.id].label)
            assert read_image(sample.image).shape == (*SIZE, 3)


def test_splits_without_photographs_have_no_list(tmp_path: Path) -> None:
    assert prepare(Given({"a": pair()}), tmp_path / "out").splits == {"train": 1}
    assert lists(tmp_path / "out") == ["train_list.txt"]


def test_a_source_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^the source holds no photographs$"):
        prepare(Given({}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
        "a label set names all ids of its labels, which --mapping may merge; "
        "d: label is 7 x 4, its image 30 x 20"
    )
    assert lists(tmp_path / "out") == []


def test_a_refusal_leaves_nothing_where_nothing_was_done(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="could not be prepared"):
        prepare(Given({"a": DatasetError("a.jpg: truncated")}), tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []
    own = tmp_path / "out" / "notes.txt"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(DatasetError, match="could not be prepared"):
        prepare(Given({"a": DatasetError("a.jpg: truncated")}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"notes.txt": b"mine"}


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


def test_two_photographs_of_one_name_are_refused(tmp_path: Path) -> None:
    source = Given({"a": pair()})
    source.items = lambda: [Item("a", "train", (Path("x/a.jpg"),)), Item("a", "val", (Path("y/a.jpg"),))]  # type: ignore[method-assign]
    with pytest.raises(
        DatasetError, match=r"^x/a.jpg and y/a.jpg: two photographs would both be named 'a'; rename one$"
    ):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


def test_what_a_source_cannot_offer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^--align landmarks: this source has no landmark files; "):
        prepare(Given({"a": pair()}), tmp_path / "out", alignment=ALIGNMENT)
    source = Given({"a": pair()})
    source.label_set = source.label_set.model_copy(update={"landmarks": {}})
    for method in ("labels", "auto"):
        with pytest.raises(SettingsError, match=r"^--align labels: label set 'helen' does not say where "):
            prepare(source, tmp_path / "out", alignment=replace(ALIGNMENT, method=method))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_gone_from_the_source_is_gone_from_the_dataset(tmp_path: Path) -> None:
    raw = make_lapa(tmp_path / "raw")
    out = tmp_path / "out"
    prepare(Lapa(raw), out)
    for path in (raw / "val" / "images").iterdir():
        path.unlink()
    assert prepare(Lapa(raw), out).splits == {"train": 4, "test": 2}
    assert not (out / "val_list.txt").exists()


def test_two_processes_do_not_prepare_one_folder_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with only_process(out):
        code = f"from faceparse.core.files.folder_lock import only_process; only_process({str(out)!r}).__enter__()"
        code = f"from pathlib import Path; {code.replace(repr(str(out)), f'Path({str(out)!r})')}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "another process is writing to it; wait for it, or choose another folder" in done.stderr
        with pytest.raises(OutputError, match="out: another process is writing to it"):
            prepare(Given({"a": pair()}), out)
    assert not out.exists()
    assert prepare(Given({"a": pair()}), out).splits == {"train": 1}
