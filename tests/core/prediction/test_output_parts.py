"""Outputs in Parquet files and tars: what is in them, and that each photograph stands in one of them, once."""

import errno
import io
import json
import os
import pickle
import resource
import shutil
import sqlite3
import tarfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from faceparse.core.errors import OutputError, ResourceError, SettingsError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction import output_parts as module
from faceparse.core.prediction.inputs import gather
from faceparse.core.prediction.output_parts import write_part
from faceparse.core.prediction.parsed_photographs import PhotographParser
from faceparse.core.prediction.part_row import PartRow
from faceparse.core.prediction.prediction import PredictReport, plan_prediction
from faceparse.core.prediction.prediction_ledger import Entry, Ledger, open_ledger
from faceparse.core.prediction.saved_photographs import saved_photographs
from faceparse.core.prediction.saving import Outputs
from tests.core.prediction.stopped import copy_album, stopping

HELEN = get_label_set("helen")
OUT = Path("out")
KINDS = ("parquet", "webdataset")


@pytest.fixture
def album(faces: Path) -> Path:
    """Sixteen photographs, half of them in a folder within; one is a PNG, and one's name has points."""
    album = copy_album(faces)
    first, second = sorted(album.glob("*.jpg"))[:2]
    Image.open(first).save(first.with_suffix(".png"))
    first.unlink()
    second.rename(second.with_name("a.b.c.JPEG"))
    return album


def predict(
    parser: Parser, *typed: object, out: Path = OUT, resume: bool = True, stop: int | None = None, **options: Any
) -> PredictReport:
    """Parse with --resume; `stop` ends it after so many photographs, as Ctrl-C does."""
    options = {"recursive": True, "faces": "none", "to": "parquet"} | options
    plan = plan_prediction(
        [str(one) for one in typed], out, label_set=HELEN, model="best.pth", resume=resume, **options
    )
    return plan.run(parser, origin={"model": "abc"}, batch_size=2, track=stopping(stop))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of five photographs."""
    monkeypatch.setattr(module, "MOST_PHOTOGRAPHS", 5)


def parts(kind: str = "parquet", folder: Path = OUT) -> list[Path]:
    return sorted((folder / kind).iterdir())


def rows(kind: str = "parquet", folder: Path = OUT) -> list[dict[str, Any]]:
    """Rows of all parts, by pyarrow or tarfile."""
    if kind == "parquet":
        return [row for path in parts(kind, folder) for row in pq.read_table(path).to_pylist()]
    found: dict[str, dict[str, Any]] = {}
    for path in parts(kind, folder):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                key, _, ending = member.name.partition(".")
                assert ending not in found.setdefault(key, {})
                found[key][ending] = file.read()
    for files in found.values():
        files |= json.loads(files.pop("json"))
        files["labels"] = files.pop("png", None)
    return list(found.values())


def names(kind: str = "parquet") -> list[str]:
    """Names of all photographs in parts, sorted, with what is there twice."""
    return sorted(row["name"] for row in rows(kind))


def expected_names(album: Path) -> list[str]:
    files = [path for path in album.rglob("*") if path.is_file()]
    return sorted(str(path.relative_to(album).with_suffix("")) for path in files)


def times(kind: str = "parquet") -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in parts(kind)}


def decode(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_are_what_files_would_be(parser: Parser, album: Path, kind: str) -> None:
    boxes = {"a.b.c.JPEG": [[10, 10, 30, 30], {"box": [40, 36, 20, 20]}]}
    for path in album.rglob("*.*"):
        boxes.setdefault(path.name, [[5, 5, 60, 60]])
    boxes[min(album.glob("trip/*")).name] = []
    Path("boxes.json").write_text(json.dumps(boxes))
    predict(parser, album, to=kind, save="labels,coco", faces="boxes.json")
    predict(parser, album, out=Path("files"), to="files", save="labels,json", faces="boxes.json")
    found = rows(kind)
    assert {len(row["faces"]) for row in found} == {0, 1, 2}
    assert len(found) == 16
    for row in found:
        with Image.open(f"files/labels/{row['name']}.png") as picture:
            label = np.array(picture)
            with Image.open(io.BytesIO(row["labels"])) as ours:
                assert (ours.mode, ours.getpalette()) == (picture.mode, picture.getpalette())
        assert np.array_equal(decode(row["labels"]), label)
        drawn = np.zeros_like(label)
        for one in row["coco"]:
            drawn[coco_mask.decode({"size": one["size"], "counts": one["counts"]}) != 0] = HELEN.names.index(
                one["class"]
            )
        assert np.array_equal(drawn, label)
        expected = json.loads(Path(f"files/json/{row['name']}.json").read_text())
        for face in expected["faces"]:
            face.setdefault("points", None)
        for face in row["faces"]:
            face.setdefault("points", None)
        assert {key: row[key] for key in expected} == expected
        assert set(row) - set(expected) - {"jpg", "photograph.png", "jpeg"} == {"name", "labels", "coco"}
        if kind == "webdataset":
            ending = next(end for end in ("jpg", "photograph.png", "jpeg") if end in row)
            assert row[ending] == Path(row["source"]).read_bytes()
    assert {path.name for path in OUT.iterdir()} == {"ledger", kind}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_and_row_groups_are_bounded(
    parser: Parser, album: Path, kind: str, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    monkeypatch.setattr("faceparse.core.prediction.part_parquet.GROUP", 2)
    predict(parser, album, to=kind)
    assert len(parts(kind)) == 4
    assert names(kind) == expected_names(album)
    if kind == "parquet":
        groups = [pq.ParquetFile(path).metadata for path in parts()]
        sizes = sorted([one.row_group(i).num_rows for i in range(one.num_row_groups)] for one in groups)
        assert sizes == [[1], [2, 2, 1], [2, 2, 1], [2, 2, 1]]
    monkeypatch.setattr(module, "MOST_BYTES", 1500)
    shutil.rmtree(OUT)
    predict(parser, album, to=kind)
    assert len(parts(kind)) > 4
    assert names(kind) == expected_names(album)


def test_pandas_duckdb_and_datasets_read_the_parquet(
    parser: Parser, album: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    predict(parser, album, save="labels,coco")
    expected = {row["name"]: row for row in rows()}
    frame = pd.read_parquet(OUT / "parquet").set_index("name")
    assert frame.loc["a.b.c", "classes"]["hair"] == expected["a.b.c"]["classes"]["hair"]
    assert frame["labels"].map(lambda png: decode(png).shape).eq(frame["height"].map(lambda side: (side, side))).all()

    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed; it is in the extra test")
    query = "SELECT name, classes.hair.fraction, confidence, len(coco) FROM 'out/parquet/*.parquet'"
    found = {name: rest for name, *rest in duckdb.sql(query).fetchall()}
    assert found == {
        name: [row["classes"]["hair"]["fraction"], row["confidence"], len(row["coco"])]
        for name, row in expected.items()
    }

    monkeypatch.setenv("HF_HOME", str(Path("hf").absolute()))
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; it is in the extra test")
    loaded = datasets.load_dataset(
        "parquet", data_files="out/parquet/*.parquet", split="train", cache_dir="cache", keep_in_memory=True
    )
    assert loaded.features["classes"]["hair"]["fraction"] == datasets.Value("float64")
    pictures = loaded.cast_column("labels", datasets.Image())
    assert len(pictures) == 16
    for row in pictures:
        assert np.array_equal(np.array(row["labels"]), decode(expected[row["name"]]["labels"]))
        assert row["faces"] is None


def test_webdataset_reads_the_tars(parser: Parser, album: Path, small: None) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed; it is in the extra test")
    predict(parser, album, to="webdataset")
    expected = {row["name"]: row for row in rows("webdataset")}
    shards = [str(path) for path in parts("webdataset")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len({sample["__key__"] for sample in samples}) == len(samples) == 16
    for sample in samples:
        described = sample["json"]
        kept = expected[described["name"]]
        assert np.array_equal(np.array(sample["png"]), np.array(Image.open(io.BytesIO(kept["labels"])).convert("RGB")))
        photograph = next(sample[end] for end in ("jpg", "jpeg", "photograph.png") if end in sample)
        size = (described["width"], described["height"])
        assert getattr(photograph, "size", size) == size


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_done_is_not_done_again_and_nothing_is_twice(
    parser: Parser, album: Path, kind: str, small: None
) -> None:
    (album / "broken.jpg").write_text("no picture")
    for stop in (0, 3, 9):
        with pytest.raises(KeyboardInterrupt):
            predict(parser, album, to=kind, stop=stop)
    assert len(names(kind)) == len(set(names(kind))) == 11  # the open part was written
    before = times(kind)
    report = predict(parser, album, to=kind)
    assert (report.photographs, report.before) == (5, 11)
    after = times(kind)
    assert before.items() <= after.items()
    report = predict(parser, album, to=kind)
    assert (report.photographs, report.before, report.broken_before) == (0, 16, 1)
    assert times(kind) == after
    (album / "broken.jpg").unlink()
    assert names(kind) == expected_names(album)
    assert predict(parser, album, to=kind, resume=False).photographs == 16
    assert names(kind) == expected_names(album)


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_photograph_is_replaced_where_its_part_has_others(
    parser: Parser, album: Path, kind: str, small: None
) -> None:
    predict(parser, album, to=kind)
    before = {row["name"]: row for row in rows(kind)}
    keys = Counter(path.name for path in parts(kind))
    changed, other = sorted(album.glob("trip/*"))[2:4]
    shutil.copy(other, changed)
    os.utime(changed, ns=(1, 1))
    report = predict(parser, album, to=kind)
    assert (report.photographs, report.before) == (1, 15)
    assert names(kind) == expected_names(album)
    after = {row["name"]: row for row in rows(kind)}
    name, copied = (str(path.relative_to(album).with_suffix("")) for path in (changed, other))
    assert after[name]["labels"] == after[copied]["labels"] != before[name]["labels"]
    assert {key: row for key, row in after.items() if key != name} == {
        key: row for key, row in before.items() if key != name
    }
    assert sum((Counter(path.name for path in parts(kind)) - keys).values()) == 1
    assert predict(parser, album, to=kind).before == 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["missing", "short", "long"])
def test_a_part_that_is_lost_or_damaged_is_made_again(
    parser: Parser, album: Path, kind: str, small: None, harm: str
) -> None:
    predict(parser, album, to=kind)
    path = parts(kind)[1]
    count = len(names(kind))
    if harm == "missing":
        path.unlink()
    elif harm == "short":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.write_bytes(path.read_bytes() + b"x" * 10)
    report = predict(parser, album, to=kind)
    assert report.before in (11, 15)
    assert report.photographs + report.before == count
    assert names(kind) == expected_names(album)
    assert predict(parser, album, to=kind).before == 16


def test_a_part_that_no_ledger_names_is_removed_and_other_files_stay(parser: Parser, album: Path, small: None) -> None:
    predict(parser, album)
    shutil.copy(parts()[0], OUT / "parquet" / "part-00000000000000ff.parquet")
    shutil.copy(parts()[0], OUT / "parquet" / "part-3-of-5-00000000000000ff.parquet")
    (OUT / "parquet" / "mine.parquet").write_text("mine")
    predict(parser, album)
    (OUT / "parquet" / "mine.parquet").unlink()
    assert names() == expected_names(album)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", ["before the part", "before its rows", "while photographs are taken out"])
def test_a_process_that_dies_between_two_steps_leaves_nothing_twice(
    parser: Parser, album: Path, kind: str, small: None, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(parser, album, to=kind)
    for path in sorted(album.glob("trip/*"))[:3]:
        os.utime(path, ns=(1, 1))

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        if moment == "before the part":
            patch.setattr(module, "write_part", die)
        else:
            patch.setattr(Ledger, "note_part" if moment == "before its rows" else "take_out", die)
        with pytest.raises(Died):
            predict(parser, album, to=kind)
    assert max(Counter(names(kind)).values()) == 1
    report = predict(parser, album, to=kind)
    assert report.photographs + report.before == 16
    assert (report.photographs > 0) == (
        moment == "while photographs are taken out"
    )  # else the ledger kept their outputs
    assert names(kind) == expected_names(album)
    assert predict(parser, album, to=kind).before == 16


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_leaves_no_half_part(
    parser: Parser, album: Path, kind: str, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any) -> int:
        if len(parts(kind)) > 2:  # one of them is the temporary file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return flush(file)

    flush = module.flush_file
    with monkeypatch.context() as patch:
        patch.setattr(module, "flush_file", full)
        with pytest.raises(OutputError, match=r"^cannot write out/\S+: No space left on device; free space or choose"):
            predict(parser, album, to=kind)
    assert len(names(kind)) == 10
    assert [path.name for path in parts(kind) if not path.name.startswith("part-")] == []
    report = predict(parser, album, to=kind)
    assert (report.photographs, report.before) == (1, 15)  # the ledger kept the part that did not fit
    assert names(kind) == expected_names(album)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_is_larger_than_a_file_may_be_is_not_left_behind(kind: str) -> None:
    described = {"source": "a.jpg", "model": "", "label_set": "helen", "width": 1, "height": 1, "confidence": None}
    row = PartRow("a", "1", described | {"classes": {}}, os.urandom(100_000), None, b"jpg", ".jpg")
    outputs = Outputs(OUT, HELEN, ("labels",), (1,), "", to=kind)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(
            OutputError, match=rf"^cannot write out/{kind}/part-\w{{16}}\.\w+: File too large; free space"
        ):
            write_part(outputs, [row])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert parts(kind) == []
    assert write_part(outputs, [row]) == (parts(kind)[0].name, parts(kind)[0].stat().st_size)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_parts_are_read_as_one_and_another_number_goes_on(
    parser: Parser, album: Path, kind: str, small: None
) -> None:
    for i in (1, 2):
        predict(parser, album, to=kind, shard=f"{i}/2")
    assert all("-of-2-" in path.name for path in parts(kind))
    assert names(kind) == expected_names(album)
    for path in sorted(album.glob("trip/*"))[::2]:
        os.utime(path, ns=(1, 1))
    changed = len(sorted(album.glob("trip/*"))[::2])
    for i in (1, 2, 3):  # each takes photographs out of parts that hold others' as well
        predict(parser, album, to=kind, shard=f"{i}/3")
        assert max(Counter(names(kind)).values()) == 1
    assert names(kind) == expected_names(album)
    for path in sorted(album.glob("trip/*"))[:changed]:
        os.utime(path, ns=(2, 2))
    predict(parser, album, to=kind)
    assert names(kind) == expected_names(album)
    assert predict(parser, album, to=kind).before == 16


def test_a_brothers_part_that_no_ledger_names_yet_is_left_alone(parser: Parser, album: Path, small: None) -> None:
    predict(parser, album, shard="1/2")
    orphan = OUT / "parquet" / "part-1-of-2-00000000000000ff.parquet"
    shutil.copy(parts()[0], orphan)
    predict(parser, album, shard="2/2")
    assert orphan.exists()
    predict(parser, album, shard="1/2")
    assert not orphan.exists()
    assert names() == expected_names(album)


def test_other_settings_never_mix_with_parts(parser: Parser, album: Path) -> None:
    predict(parser, album)
    before = times()
    message = r"^out: its outputs were made with --faces none, now auto; use the same options and model, or another"
    for resume in (True, False):
        with pytest.raises(SettingsError, match=message):
            predict(parser, album, faces="auto", resume=resume)
        with pytest.raises(SettingsError, match=r"made with --save labels, now labels,overlays; "):
            predict(parser, album, to="files", save="labels,overlays", resume=resume)
        with pytest.raises(SettingsError, match=r"made with --to parquet, now webdataset; "):
            predict(parser, album, to="webdataset", resume=resume)
    shutil.rmtree(OUT / "ledger")
    with pytest.raises(
        OutputError, match=r"^out/parquet: holds parts that no ledger names; choose another --output, or"
    ):
        predict(parser, album)
    assert times() == before


def test_photographs_of_other_inputs_stay(parser: Parser, album: Path, small: None) -> None:
    predict(parser, album)
    assert predict(parser, *sorted(album.glob("trip/*"))[:3], resume=False, recursive=False).photographs == 3
    assert len(names()) == 16  # typed alone, they have other names
    assert predict(parser, album).before == 13
    assert names() == expected_names(album)


def test_a_photograph_whose_outputs_are_renamed_by_a_new_neighbour_stands_once(
    parser: Parser, album: Path, small: None
) -> None:
    predict(parser, album)
    photograph = min(album.glob("trip/*"))
    shutil.copy(photograph, photograph.with_suffix(".png"))
    assert predict(parser, album).photographs == 2
    sources = [row["source"] for row in rows()]
    assert sorted(sources) == sorted(set(sources))
    assert len(sources) == 17
    photograph.with_suffix(".png").unlink()
    assert predict(parser, album).photographs == 1
    assert Counter(row["source"] for row in rows())[str(photograph)] == 1


def test_names_that_are_no_utf_8_and_standard_input_are_kept(parser: Parser, album: Path) -> None:
    (album / "a.b.c.JPEG").rename(album / "\udcff.jpg")
    data = next(album.glob("trip/*")).read_bytes()
    for time, kind in enumerate(KINDS):
        out = Path(f"out-{kind}")
        predict(parser, album, "-", stdin=lambda: data, to=kind, out=out)
        found = {row["name"]: row["source"] for row in rows(kind, out)}
        assert (found["stdin"], found["\\xff"]) == ("stdin", "album/\\xff.jpg")
        os.utime(album / "\udcff.jpg", ns=(time, time))
        assert predict(parser, album, "-", stdin=lambda: data, to=kind, out=out).photographs == 1
        assert Counter(row["name"] for row in rows(kind, out))["\\xff"] == 1


def test_parts_are_not_written_through_links(parser: Parser, album: Path, small: None) -> None:
    OUT.mkdir()
    Path("elsewhere").mkdir()
    (OUT / "parquet").symlink_to(Path("elsewhere").absolute())
    with pytest.raises(OutputError, match=r"^cannot write out/parquet: a link leads to "):
        predict(parser, album)
    (OUT / "parquet").unlink()
    predict(parser, album)
    path = parts()[0]
    path.rename("elsewhere/mine")
    path.symlink_to(Path("elsewhere/mine").absolute())
    kept = Path("elsewhere/mine").read_bytes()
    os.utime("elsewhere/mine", ns=(1, 1))
    predict(parser, album)
    assert Path("elsewhere/mine").read_bytes() == kept
    assert Path("elsewhere/mine").stat().st_mtime_ns == 1
    assert predict(parser, album).before == 16


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"to": "csv"}, "--to 'csv': not one of files, parquet, webdataset"),
        (
            {"save": "labels,overlays"},
            "--save overlays: --to parquet holds labels and coco alone, always with areas and",
        ),
        ({"to": "webdataset", "save": "json"}, "--save json: --to webdataset holds labels and coco alone"),
    ],
)
def test_what_parts_cannot_hold_is_refused(parser: Parser, album: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        predict(parser, album, **options)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert not OUT.exists()


def test_parquet_without_its_package_is_refused(parser: Parser, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ResourceError, match=r"^--to parquet: pyarrow is not installed; run 'pip install pyarrow'$"):
        predict(parser, album)
    assert not OUT.exists()


def test_a_saved_photograph_goes_from_process_to_process(parser: Parser, album: Path) -> None:
    outputs = Outputs(OUT, HELEN, ("labels", "coco"), (1,), "", to="parquet")
    paths = [str(path) for path in sorted(album.glob("*"))[:3] if path.is_file()]
    sources = gather(paths, OUT, recursive=False, stdin=bytes).photographs
    saved = list(saved_photographs(PhotographParser(parser), sources, outputs))
    assert pickle.loads(pickle.dumps(saved)) == saved
    part = write_part(outputs, [one.row for one in saved if one.row is not None])
    assert write_part(outputs, [one.row for one in saved if one.row is not None]) == part
    with closing(Ledger()) as ledger:
        for one in saved:
            assert one.row is not None
            ledger.note_open(one.source.name, one.entry, one.row)
        assert ledger.open_rows() == [one.row for one in saved]


def test_the_open_part_of_a_ledger_from_elsewhere_is_refused_in_one_line(parser: Parser, album: Path) -> None:
    predict(parser, album)
    described = {"source": "a", "model": "m", "height": "high"}
    for coco, kept in ([], described), ([{"size": "x"}], described), ([], {"source": "a", "model": "m", "faces": 5}):
        with open_ledger(OUT, read_origin(), [], resume=True) as ledger:
            ledger.note_open("a", Entry("/a", "1"), PartRow("a", "1", kept, b"", coco))
        with pytest.raises(OutputError, match=r"^out/ledger/all.sqlite: damaged \(.+\); remove it, and its ") as caught:
            predict(parser, album)
        assert "\n" not in str(caught.value)
        with closing(sqlite3.connect(OUT / "ledger" / "all.sqlite")) as table:
            table.execute("DELETE FROM open_part")
            table.commit()
    assert predict(parser, album).before == 16


def read_origin() -> dict[str, str]:
    return dict(json.loads((OUT / "ledger" / "settings.json").read_text()))


def test_the_same_photographs_make_the_same_part(parser: Parser, album: Path) -> None:
    for kind in KINDS:
        predict(parser, album, to=kind, out=Path("one"))
        predict(parser, album, to=kind, out=Path("two"))
        assert [path.name for path in parts(kind, Path("one"))] == [path.name for path in parts(kind, Path("two"))]
        shutil.rmtree("one")
        shutil.rmtree("two")
