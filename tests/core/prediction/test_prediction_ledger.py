"""The ledger itself: what is kept, who may write it, what is refused."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import FaceparseError, OutputError, SettingsError
from faceparse.core.prediction import prediction_ledger as module
from faceparse.core.prediction.input_shard import InputShard
from faceparse.core.prediction.made_with import Origin
from faceparse.core.prediction.part_row import Part, PartRow
from faceparse.core.prediction.photograph_facts import FaceFacts, Facts
from faceparse.core.prediction.prediction_ledger import Entry, Ledger, open_ledger

OUT = Path("out")
ORIGIN = {"model": "abc", "--save": "labels"}
FACTS = Facts(0.9, (1000, 200), (FaceFacts(12.5, 0.3125, 0.8), FaceFacts(4, 0.1, None)))
COCO = {"coco": [{"area": 3, "segmentation": [[0.5]]}]}
ENTRY = Entry("/photos/ü\udcff.jpg", "12 34", "", (40, 30), 2, "a notice", COCO, FACTS)
BROKEN = Entry("/photos/b.jpg", "1 2", "photos/b.jpg: broken image; replace the file")

WRITER = """
import sys
from pathlib import Path
from faceparse.core.prediction.prediction_ledger import Entry, open_ledger
with open_ledger(Path("out"), {"model": "abc", "--save": "labels"}, []) as ledger:
    for n in range(10**6):
        ledger.note(str(n), Entry("/a.jpg", "1 2", described={"coco": [n]}))
        print(n, flush=True)
"""


DESCRIBED = {"source": "a/\udcff.jpg", "model": "", "classes": {"hair": {"fraction": 0.1}}}
ROW = PartRow("", "12 34", DESCRIBED, b"png", None, b"jpg", ".jpg")


def put(ledger: Ledger, part: Part, entries: dict[str, Entry]) -> None:
    """Note photographs of a part, then the part."""
    for name, entry in entries.items():
        ledger.note_open(name, entry, replace(ROW, name=name))
    ledger.note_part(part)


def refused(kind: type[FaceparseError], pattern: str, origin: Origin, names: list[str], **options: Any) -> str:
    """The line that `open_ledger` refuses with."""
    with pytest.raises(kind, match=pattern) as caught, open_ledger(OUT, origin, names, **options):
        pass
    return str(caught.value)


def test_what_is_noted_is_found_again() -> None:
    with open_ledger(OUT, ORIGIN, []) as ledger:
        ledger.note("trip/a", ENTRY)
        ledger.note("b\udcff", BROKEN)
        ledger.note("b\udcff", BROKEN)
    with open_ledger(OUT, ORIGIN, [], resume=True) as ledger:
        assert ledger.find("trip/a", described=True, facts=True) == ENTRY
        assert ledger.find("trip/a") == replace(ENTRY, described={}, facts=None)
        assert ledger.find("b\udcff", described=True) == BROKEN
        assert ledger.find("c") is None
    assert {path.name for path in (OUT / "ledger").iterdir()} == {"settings.json", "all.sqlite"}


def test_a_kill_loses_no_row(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    written = -1
    for line in process.stdout:
        written = int(line)
        if written == 200:
            break
    refused(OutputError, r"^out: another process is writing to it; wait for it, or ", ORIGIN, [])
    refused(
        OutputError,
        r"^out: another process is writing to it, with other options; ",
        {"model": "other"},
        [],
        shard=InputShard(1, 2),
    )
    refused(
        OutputError,
        r"^out: another process is writing all; wait until it has ended$",
        ORIGIN,
        [],
        shard=InputShard(1, 2),
        resume=True,
    )
    os.kill(process.pid, signal.SIGKILL)
    written = max([written, *map(int, process.stdout.read().split())])
    process.wait()
    with open_ledger(OUT, ORIGIN, [], resume=True) as ledger:
        assert all(ledger.find(str(n)) for n in range(written + 1))
        assert ledger.find(str(written + 2)) is None


def test_other_settings_are_refused_or_begin_anew() -> None:
    with open_ledger(OUT, ORIGIN, [], shard=InputShard(1, 2)) as ledger:
        ledger.note("a", ENTRY)
    other = ORIGIN | {"--save": "labels,json"}
    for shard in (None, InputShard(1, 2), InputShard(2, 3)):
        refused(
            SettingsError,
            r"^out: its outputs were made with --save labels, now labels,json; ",
            other,
            ["a"],
            shard=shard,
            resume=True,
        )
    with open_ledger(OUT, ORIGIN, ["a"], resume=True) as ledger:
        assert ledger.find("a") == replace(ENTRY, described={}, facts=None)
    with open_ledger(OUT, other, ["a"]) as ledger:
        assert ledger.find("a") is None
    for shard in (None, InputShard(1, 2), InputShard(2, 3)):  # none of them may come back
        with open_ledger(OUT, other, ["a"], shard=shard, resume=True) as ledger:
            assert ledger.find("a") is None


def test_rows_of_other_numbers_of_shards_count_and_the_newest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(module.time, "time", lambda: float(next(clock)))
    with open_ledger(OUT, ORIGIN, [], shard=InputShard(1, 2)) as ledger:
        for name in ("a", "b", "c"):
            ledger.note(name, BROKEN)
    with open_ledger(OUT, ORIGIN, []) as ledger:
        ledger.note("b", ENTRY)
    with open_ledger(OUT, ORIGIN, ["a", "b"], shard=InputShard(2, 3), resume=True) as ledger:
        assert ledger.find("a") == BROKEN
        assert ledger.find("b", described=True, facts=True) == ENTRY
        assert ledger.find("c") is None  # another shard's
    with open_ledger(OUT, ORIGIN, ["c"], shard=InputShard(2, 2), resume=True) as ledger:
        assert ledger.find("c") is None  # 1/2 and 2/2 have none in common


def test_two_shards_write_at_once() -> None:
    with (
        open_ledger(OUT, ORIGIN, [], shard=InputShard(1, 2)) as one,
        open_ledger(OUT, ORIGIN, [], shard=InputShard(2, 2)) as two,
    ):
        one.note("a", ENTRY)
        two.note("b", ENTRY)


@pytest.mark.parametrize("name", ["all.sqlite", "settings.json"])
def test_a_damaged_file_is_named(name: str) -> None:
    with open_ledger(OUT, ORIGIN, []) as ledger:
        ledger.note("a", ENTRY)
    (OUT / "ledger" / name).write_bytes(b"rubbish" * 1000)
    message = refused(OutputError, rf"^out/ledger/{name}: damaged \(.*\); remove ", ORIGIN, [], resume=True)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("described", b"x"), ("described", zlib.compress(b"[")), ("path", 3), ("height", "tall"), ("faces", b"\xff")),
        *(("facts", b"[]"), ("facts", b'{"confidence": "high", "pixels": [], "faces": null}')),
    ],
)
def test_content_that_is_not_ours_is_refused(column: str, value: object) -> None:
    with open_ledger(OUT, ORIGIN, []) as ledger:
        ledger.note("a", ENTRY)
    with closing(sqlite3.connect(OUT / "ledger" / "all.sqlite")) as rows:
        rows.execute(f"UPDATE photographs SET {column} = ?", (value,))
        rows.commit()
    with (
        open_ledger(OUT, ORIGIN, [], resume=True) as ledger,
        pytest.raises(OutputError, match=r"^out/ledger/all.sqlite: damaged \("),
    ):
        ledger.find("a", described=True, facts=True)


def test_a_part_is_noted_with_all_its_photographs_or_none() -> None:
    part, other = Part("part-0123456789abcdef.parquet", 100), Part("part-0000000000000000.parquet", 7)
    with open_ledger(OUT, ORIGIN, []) as ledger:
        put(ledger, part, {"a": ENTRY, "b": ENTRY, "c": ENTRY})
        ledger.note("broken", BROKEN)
        ledger.note_open("d", ENTRY, ROW)
        with pytest.raises(OutputError, match="damaged"):
            ledger.note_part(Part(other.name, "\udcff"))  # type: ignore[arg-type]
        assert [row.name for row in ledger.open_rows()] == ["d"]
    with open_ledger(OUT, ORIGIN, [], resume=True) as ledger:
        assert ledger.parts() == {part.name}
        found = [ledger.find(name, described=True, facts=True) for name in ("a", "b", "broken", "d")]
        assert found == [replace(ENTRY, part=part), replace(ENTRY, part=part), BROKEN, None]
        ledger.take_out(part.name, ["a"], 60)
        found = [ledger.find(name) for name in ("a", "b", "c")]
        assert [one and one.part for one in found] == [None, Part(part.name, 60), Part(part.name, 60)]


def test_the_open_part_is_kept_as_it_was_and_its_space_given_back() -> None:
    runs = [{"class": "hair", "size": [4, 3], "counts": "abc"}]
    rows = [
        replace(ROW, name="b\udcff", labels=None, coco=runs),
        replace(ROW, name="a", stamp="\u00fc", photograph=os.urandom(10**6), suffix=""),
    ]
    with open_ledger(OUT, ORIGIN, []) as ledger:
        for row in rows:
            ledger.note_open(row.name, replace(ENTRY, stamp=row.stamp), row)
    file = OUT / "ledger" / "all.sqlite"
    assert file.stat().st_size > 10**6
    with open_ledger(OUT, ORIGIN, [], resume=True) as ledger:
        assert ledger.open_rows() == rows
        assert sorted(ledger.open_names()) == ["a", "b\udcff"]
        assert ledger.find("a") is None
        ledger.note_part(Part("part-0123456789abcdef.tar", 9))
        assert ledger.open_rows() == []
    assert file.stat().st_size < 10**5


@pytest.mark.parametrize(
    "texts", [b"x", b"[]", b'{"coco": null, "suffix": ""}', b'{"described": {}, "coco": null, "suffix": ""}', None]
)
def test_an_open_part_that_is_not_ours_is_told(texts: bytes | None) -> None:
    with open_ledger(OUT, ORIGIN, []) as ledger:
        ledger.note_open("a", ENTRY, ROW)
    with closing(sqlite3.connect(OUT / "ledger" / "all.sqlite")) as rows:
        rows.execute("UPDATE open_part SET texts = ?", (texts,))
        rows.commit()
    with (
        open_ledger(OUT, ORIGIN, [], resume=True) as ledger,
        pytest.raises(OutputError, match=r"^out/ledger/all.sqlite: damaged \([^\n]+\); remove it, and its photographs"),
    ):
        ledger.open_rows()


def test_an_open_photograph_that_another_ledger_has_in_a_part_is_left() -> None:
    """A shard was killed, the command without --shard parsed its rest, then the shard runs again, with other inputs."""
    shard, part = InputShard(1, 2), Part("part-0123456789abcdef.parquet", 100)
    with open_ledger(OUT, ORIGIN, ["a", "b", "c"], shard=shard) as ledger:
        for name in ("a", "b", "c"):
            ledger.note_open(name, ENTRY, replace(ROW, name=name))
    with open_ledger(OUT, ORIGIN, ["a", "c"], resume=True) as ledger:
        put(ledger, part, {"a": ENTRY})
        ledger.note("c", BROKEN)
    with open_ledger(OUT, ORIGIN, [], shard=shard, resume=True) as ledger:
        assert sorted(ledger.open_names()) == ["b", "c"]
        found = ledger.find("a")
        assert found is not None
        assert found.part == part


def test_a_photograph_that_was_taken_out_stays_out_for_other_ledgers() -> None:
    part = Part("part-1-of-2-0123456789abcdef.parquet", 100)
    with open_ledger(OUT, ORIGIN, [], shard=InputShard(1, 2)) as ledger:
        put(ledger, part, {"a": ENTRY, "b": ENTRY})
    with open_ledger(OUT, ORIGIN, ["a"], resume=True) as ledger:
        assert ledger.elsewhere == {part.name}
        ledger.take_out(part.name, ["a"], 60)
    with open_ledger(OUT, ORIGIN, ["a", "b"], shard=InputShard(1, 2), resume=True) as ledger:
        found = [ledger.find(name) for name in ("a", "b")]
        assert [one and one.part for one in found] == [None, part]


def test_while_parts_are_written_other_numbers_of_shards_wait() -> None:
    with open_ledger(OUT, ORIGIN, [], shard=InputShard(1, 2), parts=True):
        with open_ledger(OUT, ORIGIN, [], shard=InputShard(2, 2), parts=True):
            pass
        for shard in (None, InputShard(1, 3)):
            refused(OutputError, r"^out: another process is writing 1/2; wait", ORIGIN, [], shard=shard, parts=True)


def test_a_ledger_from_before_parts_goes_on() -> None:
    (OUT / "ledger").mkdir(parents=True)
    (OUT / "ledger" / "settings.json").write_text(json.dumps(ORIGIN))
    with closing(sqlite3.connect(OUT / "ledger" / "all.sqlite")) as rows:
        rows.execute(module._TABLE)
        rows.execute("INSERT INTO photographs VALUES (x'61', x'2f61', '1 2', 5.0, x'', 4, 3, 1, x'', NULL)")
        rows.commit()
    for shard in (None, InputShard(1, 2)):
        with open_ledger(OUT, ORIGIN, ["a"], resume=True, shard=shard) as ledger:
            assert ledger.find("a", described=True, facts=True) == Entry("/a", "1 2", "", (4, 3), 1)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (OUT / "ledger").mkdir(parents=True)
    (OUT / "ledger" / "all.sqlite").symlink_to(tmp_path / "elsewhere.sqlite")
    refused(OutputError, r"^cannot write out/ledger/all.sqlite: a link leads to ", ORIGIN, [])
    assert not (tmp_path / "elsewhere.sqlite").exists()


def test_a_pipe_is_not_waited_for() -> None:
    (OUT / "ledger").mkdir(parents=True)
    os.mkfifo(OUT / "ledger" / "all.sqlite")
    refused(OutputError, r"^cannot write out/ledger/all.sqlite: it is no regular file; remove it$", ORIGIN, [])


def test_a_ledger_in_memory_needs_no_folder() -> None:
    with closing(Ledger()) as ledger:
        ledger.note("a", ENTRY)
        assert ledger.find("a", described=True, facts=True) == ENTRY
    assert not OUT.exists()
