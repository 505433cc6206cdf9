"""Journal and record: read as far as they are whole, and trusted in nothing else."""

from pathlib import Path

import pytest

from faceparse.core.datasets.prepare import prepare
from tests.core.datasets.given import Counted, Given, contents, pair


def test_damaged_lines_of_the_record_are_prepared_again(tmp_path: Path) -> None:
    source = Given({"a": pair(), "b": pair()})
    prepare(source, tmp_path / "out")
    record = tmp_path / "out" / "prepared.jsonl"
    whole = record.read_bytes()
    record.write_bytes(whole.replace(b'"id"', b'"\xff\xff"', 1))
    assert prepare(source, tmp_path / "out").done == 1
    assert record.read_bytes() == whole


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
