import json
from pathlib import Path
from typing import Any

from faceparse.core.training.run import RunResult


def test_a_predict_reports_and_so_do_its_parts_alone(cli: Any, trained: RunResult, faces: Path) -> None:
    options = ["--faces", "none", "--to", "parquet", "-o", "out", "--report"]
    done = cli("predict", trained.best, faces / "images", *options)
    assert (done.code, done.out) == (0, "report: out/report.html\nout: 16 parsed\n")
    first = json.loads(Path("out/report.json").read_text())
    done = cli("predict", trained.best, faces / "images", *options, "--resume")
    assert done.out == "report: out/report.html\nout: 0 parsed, 16 before\n"
    assert json.loads(Path("out/report.json").read_text()) == first
    done = cli("report", "out", "-o", "alone")
    assert (done.code, done.out, done.err) == (0, "alone/report.html: 16 photographs\n", "")
    assert json.loads(Path("alone/report.json").read_text())["confidence"] == first["confidence"]


def test_a_folder_without_parts_is_refused(cli: Any) -> None:
    Path("empty").mkdir()
    assert cli("report", "empty").message == (
        "empty: no part-*.parquet in it; name a folder that predict --to parquet has written"
    )
    assert cli("report", "nowhere").message.startswith("nowhere: no part-*.parquet in it; ")
