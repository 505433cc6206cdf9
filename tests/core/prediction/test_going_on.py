"""A `predict` that goes on where another has stopped, and one in shards."""

import errno
import json
import os
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.files import writing
from faceparse.core.files.remote import RemoteFile
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.prediction import PredictReport, plan_prediction
from tests.core.prediction.stopped import copy_album, stopping

HELEN = get_label_set("helen")
OUT = Path("out")
SAVE = "labels,crops,masks,json,coco,cvat,labelstudio"


@pytest.fixture
def album(faces: Path) -> Path:
    """Sixteen photographs, half of them in a folder within."""
    return copy_album(faces)


def predict(
    parser: Parser, *typed: object, out: Path = OUT, resume: bool = True, stop: int | None = None, **options: Any
) -> PredictReport:
    """Parse with --resume; `stop` ends it after so many photographs, as Ctrl-C does."""
    options = {"save": SAVE, "recursive": True, "faces": "none"} | options
    texts = [str(one) for one in typed]
    plan = plan_prediction(texts, out, label_set=HELEN, model="best.pth", resume=resume, **options)
    return plan.run(parser, origin={"model": "abc"}, batch_size=2, track=stopping(stop))


def tree(folder: Path) -> dict[str, bytes]:
    """All outputs."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "ledger")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "labels").rglob("*.png")}


def test_what_is_done_is_not_done_again_and_nothing_is_missing(parser: Parser, album: Path) -> None:
    (album / "broken.jpg").write_text("no picture")
    predict(parser, album, out=Path("whole"), resume=False)
    for stop in (0, 3, 9):
        with pytest.raises(KeyboardInterrupt):
            predict(parser, album, stop=stop)
    assert not (OUT / "coco.json").exists()
    before = times(OUT)
    report = predict(parser, album)
    assert report.photographs + report.before == 16
    assert report.before >= 11
    assert len(report.broken) + report.broken_before == 1
    assert tree(OUT) == tree(Path("whole"))
    after = times(OUT)
    assert sum(after[path] == time for path, time in before.items()) >= report.before
    report = predict(parser, album)
    assert (report.photographs, report.before, report.broken, report.broken_before) == (0, 16, [], 1)
    assert times(OUT) == after
    assert tree(OUT) == tree(Path("whole"))


def test_changed_and_new_photographs_and_lost_outputs_are_done(parser: Parser, album: Path) -> None:
    predict(parser, album)
    names = sorted(str(path.relative_to(album).with_suffix("")) for path in album.rglob("*.jpg"))
    changed, touched, lost, empty, moved, *_ = names
    shutil.copy(album / f"{lost}.jpg", album / f"{changed}.jpg")
    os.utime(album / f"{touched}.jpg", ns=(1, 1))
    (OUT / "masks" / lost / "nose.png").unlink()
    (OUT / "crops" / empty / "0.npy").write_bytes(b"")
    shutil.copy(album / f"{moved}.jpg", album / "new.jpg")
    before = times(OUT)
    report = predict(parser, album)
    assert (report.photographs, report.before) == (5, 12)
    again = {path for path, time in times(OUT).items() if before.get(path) != time}
    assert again == {OUT / "labels" / f"{name}.png" for name in (changed, touched, lost, empty, "new")}
    assert (OUT / "labels" / f"{changed}.png").read_bytes() == (OUT / "labels" / f"{lost}.png").read_bytes()
    predict(parser, album, out=Path("whole"))
    assert tree(OUT) == tree(Path("whole"))


def test_a_folder_that_was_moved_is_still_done(parser: Parser, album: Path) -> None:
    predict(parser, album)
    album.rename("elsewhere")
    assert predict(parser, "elsewhere").before == 16
    Path("link").symlink_to("elsewhere")
    assert predict(parser, "link").before == 16


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"save": "labels"}, "--save coco,crops,cvat,json,labels,labelstudio,masks, now labels; "),
        ({"classes": "hair"}, "--classes skin,"),
        ({"grow": "2%"}, "--grow 0, now 2%; "),
        ({"faces": "auto"}, "--faces none, now auto; "),
        ({"faces": "boxes.json"}, "--faces none, now file "),
    ],
    ids=str,
)
def test_other_options_are_refused(parser: Parser, album: Path, options: dict[str, Any], expected: str) -> None:
    Path("boxes.json").write_text("{}")
    predict(parser, album)
    before = tree(OUT)
    with pytest.raises(SettingsError) as caught:
        predict(parser, album, **options)
    assert str(caught.value).startswith(f"out: its outputs were made with {expected}")
    assert str(caught.value).endswith("use the same options and model, or another --output")
    assert tree(OUT) == before


def test_equal_names_in_two_folders_are_refused_and_nothing_is_lost(parser: Parser, album: Path) -> None:
    predict(parser, album)
    shutil.copytree(album, "other")
    before = tree(OUT)
    with pytest.raises(DatasetError, match=r"^other/\S+: its outputs would replace those of \S+, which have the same"):
        predict(parser, "other")
    assert tree(OUT) == before
    with pytest.raises(DatasetError, match="two inputs would both be written as"):
        predict(parser, "other", album)
    assert tree(OUT) == before


def test_broken_photographs_are_listed_and_tried_again_when_asked(parser: Parser, album: Path) -> None:
    first, second = sorted(album.glob("*.jpg"))[:2]
    whole = first.read_bytes(), first.stat().st_mtime_ns
    first.write_bytes(b"x" * len(whole[0]))
    second.write_text("no picture, either")
    os.utime(first, ns=(5, 5))
    report = predict(parser, album)
    assert (report.photographs, len(report.broken), report.failed) == (14, 2, OUT / "failed.csv")
    reason = "not a readable image; replace the file"
    expected = f"photograph,reason\n{first},{reason}\n{second},{reason}\n"
    assert (OUT / "failed.csv").read_text() == expected
    first.write_bytes(whole[0])
    os.utime(first, ns=(5, 5))  # as if it had not changed
    report = predict(parser, album)
    assert (report.photographs, report.before, report.broken, report.broken_before) == (0, 14, [], 2)
    assert (OUT / "failed.csv").read_text() == expected
    report = predict(parser, album, retry_failed=True)
    assert (report.photographs, report.before, len(report.broken), report.broken_before) == (1, 14, 1, 0)
    second.write_bytes(whole[0])  # changed: tried in any case
    report = predict(parser, album)
    assert (report.photographs, report.before, report.failed) == (1, 15, None)
    assert not (OUT / "failed.csv").exists()
    assert len(json.loads((OUT / "coco.json").read_text())["images"]) == 16


def test_a_disk_that_fills_up_loses_nothing_that_was_done(
    parser: Parser, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def full(target: Path) -> Any:
        made.append(target)
        if len(made) > 120:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return new_file(target)

    new_file = writing.new_file
    with monkeypatch.context() as patch:
        patch.setattr(writing, "new_file", full)
        with pytest.raises(
            OutputError, match=r"^cannot write \S+: No space left on device; free space or choose another"
        ):
            predict(parser, album)
    before = times(OUT)
    report = predict(parser, album)
    assert report.before > 0
    assert report.photographs + report.before == 16
    after = times(OUT)
    assert sum(after[path] == time for path, time in before.items()) >= report.before
    predict(parser, album, out=Path("whole"))
    assert tree(OUT) == tree(Path("whole"))


def test_without_resume_all_are_parsed_and_the_way_to_go_on_is_told(parser: Parser, album: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(parser, album, stop=5)
    told = list[str]()
    plan = plan_prediction([str(album)], OUT, label_set=HELEN, model="", save=SAVE, recursive=True, faces="none")
    assert plan.run(parser, origin={"model": "abc"}, tell=told.append).photographs == 16
    assert told == ["out: parses all 16 photographs; --resume would pass over 5 of them"]


def test_sixteen_shards_are_the_plain_run_byte_for_byte(parser: Parser, album: Path) -> None:
    (album / "broken.jpg").write_text("no picture")
    predict(parser, album, out=Path("whole"))
    done = sum(predict(parser, album, shard=f"{i}/16", resume=False).photographs for i in range(1, 17))
    assert done == 16
    assert not (OUT / "coco.json").exists()
    lists = list(OUT.glob("failed-*-of-16.csv"))
    assert [path.read_bytes() for path in lists] == [(Path("whole") / "failed.csv").read_bytes()]
    report = predict(parser, album)
    assert (report.photographs, report.before, report.broken_before) == (0, 16, 1)
    lists[0].unlink()
    assert tree(OUT) == tree(Path("whole"))


def test_another_number_of_shards_goes_on(parser: Parser, album: Path) -> None:
    for i in (1, 2):
        predict(parser, album, shard=f"{i}/3")
    reports = [predict(parser, album, shard=f"{i}/2") for i in (1, 2)]
    assert sum(one.photographs + one.before for one in reports) == 16
    assert 0 < sum(one.before for one in reports) < 16
    assert predict(parser, album).before == 16


def test_a_list_of_bytes_and_files_goes_on(parser: Parser, album: Path) -> None:
    first = min(album.glob("*.jpg"))
    assert predict(parser, "-", stdin=first.read_bytes).photographs == 1
    assert predict(parser, "-", stdin=first.read_bytes).before == 1
    assert predict(parser, "-", stdin=max(album.glob("*.jpg")).read_bytes).photographs == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resume": False, "retry_failed": True}, "--retry-failed is for a command that goes on; add --resume"),
        ({"shard": "17/16"}, "--shard 17/16: write 1/16 to 16/16 for 16 parts"),
    ],
)
def test_options_that_could_do_nothing_are_refused(
    parser: Parser, album: Path, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{expected}"):
        predict(parser, album, **options)
    assert not OUT.exists()


def packed(album: Path, kind: str) -> Path:
    """The album as a tar or a table."""
    files = sorted(album.rglob("*.jpg"))
    path = Path(f"album.{kind}")
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            for file in files:
                tar.add(file, file.relative_to(album).as_posix())
        return path
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow as pa

    pq.write_table(pa.table({"image": [file.read_bytes() for file in files]}), path, row_group_size=5)
    return path


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_tars_and_tables_go_on_and_give_what_their_photographs_give(parser: Parser, album: Path, kind: str) -> None:
    path, options = packed(album, kind), {"save": "labels,json"}
    predict(parser, album, out=Path("whole"), **options)
    for stop in (3, 9):
        with pytest.raises(KeyboardInterrupt):
            predict(parser, path, stop=stop, **options)
    before = times(OUT)
    report = predict(parser, path, **options)
    assert (report.photographs + report.before, report.broken) == (16, [])
    assert report.before >= 9
    assert sum(times(OUT)[file] == time for file, time in before.items()) >= report.before
    files = sorted(album.rglob("*.jpg"))
    for row, file in enumerate(files):
        within = file.relative_to(album).with_suffix("") if kind == "tar" else f"{row:08d}"
        label = (Path("whole") / "labels" / file.relative_to(album)).with_suffix(".png").read_bytes()
        assert (OUT / "labels" / "album" / f"{within}.png").read_bytes() == label
    assert predict(parser, path, **options).before == 16
    path.rename(f"moved-{path}")
    Path(f"moved-{path}").rename(path)
    assert predict(parser, path.absolute(), **options).before == 16
    done = sum(predict(parser, path, out=Path("parts"), shard=f"{i}/3", **options).photographs for i in (1, 2, 3))
    assert done == 16
    assert predict(parser, path, out=Path("parts"), **options).before == 16
    assert set(tree(Path("parts"))) - set(tree(OUT)) == set()
    os.utime(path, ns=(1, 1))  # as if it were written again
    assert predict(parser, path, **options).photographs == 16


def test_equal_names_are_refused_across_folders_tars_and_tables(parser: Parser, album: Path) -> None:
    tar, table = packed(album, "tar"), packed(album, "parquet")
    predict(parser, tar, save="labels")
    before = tree(OUT)
    Path("other").mkdir()
    shutil.copytree(album, Path("other", "album"))
    with pytest.raises(DatasetError, match=r"^other/album/\S+: its outputs would replace those of \S+album.tar/"):
        predict(parser, "other", save="labels")
    with pytest.raises(DatasetError, match="two inputs would both be written as 'album/"):
        predict(parser, tar, "other", save="labels")
    shutil.copy(table, "other/album.parquet")
    with pytest.raises(DatasetError, match="two inputs would both be written as 'album/00000000'"):
        predict(parser, table, "other/album.parquet", save="labels")
    assert tree(OUT) == before
    tar.unlink()  # what they were made of is gone: they may be replaced
    assert predict(parser, "other", save="labels").photographs == 16


def test_nothing_is_fetched_to_see_what_is_left(
    parser: Parser, album: Path, bucket: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(album.rglob("*.jpg")):
        bucket(path.as_posix(), path.read_bytes())
    assert predict(parser, "s3://photos/album", save="labels").photographs == 16
    assert (OUT / "labels" / "trip").is_dir()
    reads, read = list[str](), RemoteFile.read
    monkeypatch.setattr(RemoteFile, "read", lambda self: (reads.append(self.address), read(self))[1])
    assert predict(parser, "s3://photos/album", save="labels").before == 16
    assert reads == []
    first = min(album.rglob("*.jpg"))
    bucket(first.as_posix(), max(album.rglob("*.jpg")).read_bytes())
    assert predict(parser, "s3://photos/album", save="labels").photographs == 1
    assert reads == [f"s3://photos/{first}"]
    with pytest.raises(DatasetError, match=r"its outputs would replace those of s3://photos/album/\S+, which have the"):
        predict(parser, album, save="labels")


def test_broken_cells_and_giant_photographs_are_listed_and_the_rest_is_done(parser: Parser, album: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow as pa

    good = min(album.glob("*.jpg")).read_bytes()
    at = good.index(b"\xff\xc0") + 5
    giant = good[:at] + struct.pack(">HH", 30_000, 30_000) + good[at + 4 :]
    pq.write_table(pa.table({"image": [good, None, giant, good[:200], good]}), "t.parquet")
    report = predict(parser, "t.parquet", save="labels")
    assert report.photographs == 2
    null, large, cut = report.broken
    assert null == "t.parquet/00000001: no photograph in column 'image'; fill the cell"
    assert large == "t.parquet/00000002: more than 150 megapixels; make it smaller"
    assert cut.startswith("t.parquet/00000003: ")
    lines = (OUT / "failed.csv").read_text().splitlines()
    assert lines[1] == "t.parquet/00000001,no photograph in column 'image'; fill the cell"
    assert len(lines) == 4
    again = predict(parser, "t.parquet", save="labels")
    assert (again.photographs, again.before, again.broken_before) == (0, 2, 3)


def test_labelme_is_refused_for_what_is_no_file(parser: Parser, album: Path) -> None:
    tar = packed(album, "tar")
    with pytest.raises(SettingsError, match="^--save labelme: LabelMe opens photographs that are files, and "):
        predict(parser, tar, save="labelme")
