"""The report of a whole command, from its ledger; and that of Parquet parts alone."""

import base64
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceparse.core.errors import DatasetError, ResourceError, SettingsError
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.images.overlay import overlay
from faceparse.core.images.read_photograph import decode_image, read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.prediction import PredictReport, plan_prediction
from faceparse.core.prediction.write_report import write_parts_report

HELEN = get_label_set("helen")
OUT = Path("out")


@pytest.fixture
def album(faces: Path) -> Path:
    """Sixteen photographs, and one that is broken."""
    shutil.copytree(faces / "images", "album")
    boxes: dict[str, list[Any]] = {path.name: [[5, 5, 60, 60]] for path in Path("album").iterdir()}
    first, second, *_ = sorted(boxes)
    boxes |= {first: [], second: [[10, 10, 30, 30], [40, 36, 20, 12]]}
    Path("boxes.json").write_text(json.dumps(boxes))
    Path("album/broken.jpg").write_text("no picture")
    return Path("album")


def predict(parser: Parser, album: Path, **options: Any) -> PredictReport:
    options = {"report": True, "faces": "boxes.json", "save": "labels,json"} | options
    plan = plan_prediction([str(album)], OUT, label_set=HELEN, model="best.pth", **options)
    return plan.run(parser, origin={"model": "abc"}, batch_size=2)


def content() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OUT / "report.json").read_text())
    return found


def test_the_report_is_that_of_the_files(parser: Parser, album: Path) -> None:
    assert predict(parser, album).page == OUT / "report.html"
    found = content()
    files = [json.loads(path.read_text()) for path in sorted((OUT / "json").iterdir())]
    assert found["photographs"] == len(files) == 16
    assert found["faces"] == sum(len(one["faces"]) for one in files) == 16
    assert found["small_face"] == 16.0  # a quarter of 64
    assert {kind: look["count"] for kind, look in found["looks"].items()} == {
        "without_face": 1,
        "several_faces": 1,
        "small_face": 1,
        "low_confidence": sum(one["confidence"] is not None and one["confidence"] < 0.8 for one in files),
        "broken": 1,
    }
    assert [one["confidence"] for one in found["least_sure"]] == sorted(
        one["confidence"] for one in files if one["faces"]
    )
    for areas in found["classes"]:
        shares = [one["classes"][areas["name"]]["fraction"] for one in files]
        assert areas["absent"] == shares.count(0)
        if any(shares):
            there = [share for share in shares if share]
            assert areas["shares"]["mean"] == pytest.approx(np.mean(there), abs=1e-5)


def test_the_least_sure_are_shown_with_their_labels(parser: Parser, album: Path) -> None:
    predict(parser, album)
    least = content()["least_sure"]
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', (OUT / "report.html").read_text())
    assert len(pictures) == 2 * len(least) == 30
    shown = [decode_image(base64.b64decode(one), "page") for one in pictures]
    for n, one in enumerate(least):
        image = read_image(Path(one["source"]))
        label = np.array(Image.open(OUT / "labels" / f"{one['name']}.png"))
        for found, drawn in zip(shown[2 * n :], (image, overlay(image, label, HELEN.palette())), strict=False):
            expected = decode_image(encode_jpeg(drawn, quality=85), "expected")
            assert np.abs(found.astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize("to", ["files", "parquet", "webdataset"])
def test_it_is_about_all_shards_and_what_was_done_before(parser: Parser, album: Path, to: str) -> None:
    options = {"to": to, "save": "labels"}
    predict(parser, album, **options)
    whole = content()
    shutil.rmtree(OUT)
    for i in (1, 2, 3):
        predict(parser, album, shard=f"{i}/3", report=False, **options)
    assert not (OUT / "report.json").exists()
    assert predict(parser, album, resume=True, **options).photographs == 0
    assert content() == whole
    (album / "face_00003.jpg").unlink()
    predict(parser, album, resume=True, **options)
    assert content()["photographs"] == 15  # about the inputs


def test_parts_alone_give_the_same_numbers(parser: Parser, album: Path) -> None:
    predict(parser, album, to="parquet", save="coco")
    whole = content()
    shutil.copytree(OUT / "parquet", "copied")
    page, photographs = write_parts_report(Path("copied"), Path("told"))
    assert (page, photographs) == (Path("told/report.html"), 16)
    alone = json.loads(Path("told/report.json").read_text())
    assert "broken" not in alone["looks"]  # parts do not know them
    alone["looks"]["broken"] = whole["looks"]["broken"]
    for one in (alone, whole):
        del one["looks"]["broken"], one["looks"]["small_face"], one["small_face"]
        for areas in one["classes"]:
            del areas["colour"]
    assert alone == whole
    assert write_parts_report(OUT, OUT)[1] == 16


def test_what_is_no_part_is_refused(parser: Parser, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("copied").mkdir()
    part = Path("copied/part-0.parquet")
    with pytest.raises(
        DatasetError, match=r"^copied: no part-\*\.parquet in it; name a folder that predict --to parquet"
    ):
        write_parts_report(Path("copied"), OUT)
    classes = pa.array([{"hair": {"pixels": 3}}])
    columns = {"name": ["a"], "source": ["a"], "height": [0], "confidence": ["high"], "classes": classes}
    tables = [pa.table({"x": [1]}), pa.table({"classes": [1]}), pa.table({"classes": classes})]
    tables += [pa.table(columns | {"faces": [[{"box": [1.0], "confidence": None}]]})]
    for table in tables:
        pq.write_table(table, part)
        with pytest.raises(
            DatasetError, match=r"^copied/part-0.parquet: no whole part of predict --to parquet \(.*copy"
        ):
            write_parts_report(Path("copied"), OUT)
    part.write_text("rubbish")
    with pytest.raises(DatasetError, match=r"^copied/part-0.parquet: no whole part of predict --to parquet \(.*copy"):
        write_parts_report(Path("copied"), OUT)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ResourceError, match=r"^report: pyarrow is not installed; run 'pip install pyarrow'$"):
        write_parts_report(Path("copied"), OUT)


def test_parts_of_two_label_sets_are_refused() -> None:
    Path("copied").mkdir()
    for n, name in enumerate(("hair", "skin")):
        columns = {"name": ["a"], "source": ["a"], "height": [1], "confidence": [0.5], "faces": [[]]}
        pq.write_table(pa.table(columns | {"classes": [{name: {"pixels": 3}}]}), f"copied/part-{n}.parquet")
    with pytest.raises(DatasetError, match=r"^copied/part-1.parquet: has other classes than the parts before it; "):
        write_parts_report(Path("copied"), OUT)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"shard": "1/2"}, "--report is about all shards; leave out --shard 1/2, and add --resume when all of them are")],
)
def test_a_shard_has_no_report(parser: Parser, album: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError, match=f"^{expected}"):
        predict(parser, album, **options)
    assert not OUT.exists()


def test_a_photograph_that_is_gone_has_no_picture(parser: Parser, album: Path) -> None:
    predict(parser, album)
    least = content()["least_sure"][0]["source"]

    def track(items: Iterable[Any], total: int | None, what: str) -> Iterable[Any]:
        if what == "report":
            Path(least).unlink()
        return items

    plan = plan_prediction(
        [str(album)], OUT, label_set=HELEN, model="", faces="boxes.json", save="labels,json", report=True, resume=True
    )
    plan.run(parser, origin={"model": "abc"}, track=track)
    assert (OUT / "report.html").read_text().count("<img") == 28
