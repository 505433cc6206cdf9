"""Photographs chosen by the model's doubt."""

import csv
import tarfile
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import DatasetError, OutputError, SettingsError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.rank_uncertain import ChoicePlan, plan_choice, rank, table_csv
from faceparse.core.prediction.uncertainty import Doubt, Doubtful

HELEN = get_label_set("helen")
TABLE = Path("uncertain.csv")


def plan(*typed: object, table: Path = TABLE, **options: Any) -> ChoicePlan:
    return plan_choice([str(one) for one in typed], table, label_set=HELEN, **options)


def doubtful(name: str, doubt: Doubt | None) -> Doubtful:
    return Doubtful(Source(f"photos/{name}.jpg", name), None, doubt)


def test_the_least_sure_come_first_and_what_has_no_measure_last() -> None:
    found = [
        doubtful("sure", Doubt(0.1, 0.0)),
        doubtful("faceless", None),
        doubtful("b", Doubt(0.2, 0.1)),
        doubtful("a", Doubt(0.1, 0.2)),
        doubtful("unsure", Doubt(0.3, 0.4)),
        doubtful("nothing", None),
    ]
    assert [one.source.name for one in rank(found)] == ["unsure", "a", "b", "sure", "faceless", "nothing"]


def test_the_table_has_a_line_for_each() -> None:
    content = table_csv([doubtful('a, "b"', Doubt(0.25, 0.125)), doubtful("none", None)])
    assert list(csv.reader(content.splitlines())) == [
        ["photograph", "uncertainty", "entropy", "disagreement", "faces"],
        ['photos/a, "b".jpg', "0.375000", "0.250000", "0.125000", ""],
        ["photos/none.jpg", "", "", "", ""],
    ]


def test_the_first_are_copied_byte_by_byte_and_the_table_has_all(parser: Parser, photographs: Path) -> None:
    (photographs / "no.jpg").write_text("no photograph")
    report = plan(photographs, first=2, copy=Path("chosen")).run(parser)
    assert [line.split(": ")[0] for line in report.broken] == [str(photographs / "no.jpg")]
    assert len(report.ranked) == 3
    assert report.chosen == report.ranked[:2]
    doubts = [one.doubt.uncertainty for one in report.ranked if one.doubt]
    assert doubts == sorted(doubts, reverse=True)
    rows = list(csv.DictReader(TABLE.read_text().splitlines()))
    assert [row["photograph"] for row in rows] == [one.source.where for one in report.ranked]
    copied = {path.name: path.read_bytes() for path in Path("chosen").iterdir()}
    assert copied == {Path(one.source.where).name: Path(one.source.where).read_bytes() for one in report.chosen}


def test_the_next_choice_leaves_out_what_was_copied(parser: Parser, photographs: Path) -> None:
    for _ in range(2):
        before = {path: path.read_bytes() for path in Path("chosen").glob("*")}
        report = plan(photographs, first=1, copy=Path("chosen")).run(parser)
        assert len(report.ranked) == 3 - len(before)
        assert all(path.read_bytes() == data for path, data in before.items())
    assert len(list(Path("chosen").iterdir())) == 2
    plan(photographs, first=5, copy=Path("chosen")).run(parser)
    with pytest.raises(SettingsError, match="^chosen: has all 3 photographs already; nothing is left to choose from$"):
        plan(photographs, copy=Path("chosen"))


def test_copies_within_the_searched_folder_are_not_ranked(parser: Parser, photographs: Path) -> None:
    plan(photographs, first=1, copy=photographs / "chosen").run(parser)
    again = plan(photographs, copy=photographs / "chosen", recursive=True)
    assert (len(again.photographs), len(again.copied_before)) == (2, 1)


def test_another_photograph_of_the_same_name_is_never_overwritten(photographs: Path, parser: Parser) -> None:
    Path("chosen").mkdir()
    Path("chosen/b.PNG").write_text("mine")
    with pytest.raises(OutputError) as caught:
        plan(photographs, copy=Path("chosen"))
    expected = f"chosen/b.PNG: is there already and is not {photographs / 'b.PNG'}; choose another --copy folder"
    assert str(caught.value) == expected
    Path("chosen/b.PNG").unlink()
    late = plan(photographs, copy=Path("chosen"))
    Path("chosen/b.PNG").write_text("mine")  # while the photographs are measured
    with pytest.raises(OutputError, match=r"^chosen/b.PNG: is there already; choose another --copy folder$"):
        late.run(parser)
    assert Path("chosen/b.PNG").read_text() == "mine"


@pytest.mark.parametrize(
    ("typed", "options", "error", "expected"),
    [
        ("{photographs}", {"table": Path("a.jpg")}, SettingsError, "--output a.jpg: the ranking is a table; let its"),
        ("-", {}, SettingsError, "-: one photograph cannot be ranked; name files or folders"),
        ("webcam:0", {}, SettingsError, "no photographs among the inputs, only videos or cameras; take pictures"),
        ("nothing", {}, DatasetError, "nothing: no such photograph, video or folder"),
        ("{photographs}", {"faces": "x.pt"}, SettingsError, "--faces x.pt: not auto, none, "),
        ("{photographs}", {"min_face": 2.0}, SettingsError, "--min-face 2: a share of the picture's height"),
    ],
    ids=str,
)
def test_what_cannot_be_ranked_is_refused(
    photographs: Path, typed: str, options: dict[str, Any], error: type[Exception], expected: str
) -> None:
    with pytest.raises(error) as caught:
        plan(typed.format(photographs=photographs), **options)
    assert str(caught.value).startswith(expected)


def test_photographs_in_tars_and_tables_are_ranked_and_rows_are_not_copied(parser: Parser, photographs: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    import pyarrow as pa

    files = sorted(path for path in photographs.iterdir() if path.suffix != ".txt")
    with tarfile.open("t.tar", "w") as tar:
        for path in files:
            tar.add(path, path.name)
    pq.write_table(pa.table({"photo": [path.read_bytes() for path in files]}), "t.parquet")
    expected = [one.doubt for one in plan(photographs).run(parser).ranked]
    assert [one.doubt for one in plan("t.tar").run(parser).ranked] == expected
    assert [one.doubt for one in plan("t.parquet", column="photo").run(parser).ranked] == expected
    report = plan("t.tar", copy=Path("chosen"), first=2).run(parser)
    for one in report.chosen:
        name = Path(one.source.where).name
        assert (Path("chosen/t") / name).read_bytes() == (photographs / name).read_bytes()
    with pytest.raises(SettingsError, match=r"^--copy: t.parquet/00000000 is a row, not a file with a name; leave out"):
        plan("t.parquet", copy=Path("other"))
