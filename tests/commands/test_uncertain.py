"""`faceparse uncertain`."""

import csv
import shutil
from pathlib import Path
from typing import Any

from faceparse.core.training.run import RunResult


def test_photographs_are_ranked_listed_and_copied(cli: Any, trained: RunResult, faces: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((faces / "images").iterdir())[:4]:
        shutil.copy(path, photos)
    (photos / "broken.png").write_bytes(b"not a picture")
    (photos / "notes.txt").write_text("no photograph")
    done = cli("uncertain", trained.best, photos, "-n", 2, "--copy", "chosen", "--faces", "none")
    assert done.code == 1
    rows = list(csv.DictReader(Path("uncertain.csv").read_text().splitlines()))
    assert len(rows) == 4
    for row in rows:
        assert float(row["uncertainty"]) - float(row["entropy"]) - float(row["disagreement"]) < 2e-6
    first = [row["photograph"] for row in rows[:2]]
    assert all(name in done.out for name in first)
    assert not any(row["photograph"] in done.out for row in rows[2:])
    assert done.out.endswith("uncertain.csv: 4 ranked, 1 left out\nchosen: 2 copied\n")
    assert done.err == (
        "passed over, being no photographs: 1 other: notes.txt\n"
        f"left out: {photos / 'broken.png'}: not a readable image; replace the file\n"
    )
    assert {path.name for path in Path("chosen").iterdir()} == {Path(name).name for name in first}
    (photos / "broken.png").unlink()
    again = cli("uncertain", "--model", trained.best, photos, "-n", 2, "--copy", "chosen", "--faces", "none")
    assert again.code == 0
    assert again.out.endswith("uncertain.csv: 2 ranked, 2 copied before\nchosen: 2 copied\n")


def test_nothing_to_rank_is_refused_in_one_line(cli: Any, trained: RunResult, tree: Any) -> None:
    assert cli("uncertain", trained.best).message == "nothing to rank; name photographs or folders"
    assert cli("uncertain", trained.best, "nowhere").message.startswith("nowhere: no such photograph, video or folder")
    assert tree() == {}
