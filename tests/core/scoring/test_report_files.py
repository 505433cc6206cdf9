"""Folders that hold one evaluation, whole, and the pages in them."""

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.errors import OutputError
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.built_in_groups import face_sides
from faceparse.core.scoring.comparison import compare
from faceparse.core.scoring.groups import by_thirds, by_words
from faceparse.core.scoring.records import count_image
from faceparse.core.scoring.report_files import comparison_files, evaluation_files, prepare_folder, write_folder
from faceparse.core.scoring.summary import Evaluation, Summary, WorstImage
from tests.core.scoring.images import stacked
from tests.pages import Page

LABELS = LabelSet(
    name="x",
    side="none",
    classes={"background": "#000000", "<b>&": "#ff0000", "absent": "#00ff00"},
    merged={"both": ("<b>&", "absent")},
)


IMAGES = 24
WORDS = [None, "few", *["<f>", "m"] * 11]


def evaluation(seed: int = 0, *, worst: int = 2, resamples: int = 50, name: str = "best.pth") -> Evaluation:
    """Of 24 images without the last class; some have a lightness, and most a word."""
    random = np.random.default_rng(seed)
    counts = []
    for _ in range(IMAGES):
        truth = random.integers(0, 2, (30, 20)).astype(np.uint8)
        counts.append(count_image(truth, np.where(random.random(truth.shape) < 0.3, 0, truth).astype(np.uint8), 3))
    lightness = np.full(IMAGES, np.nan)
    lightness[:6] = [50, 30.06, 90, np.nan, 70, 71]
    grouped = (by_thirds("skin_lightness", lightness), by_words("<sex>", WORDS, ["<f>", "m", "few"]))
    summary = Summary(stacked(counts), LABELS, resamples, grouped)
    picture = np.full((300, 500, 3), 90, np.uint8)
    ids = [f"some/<i>{i}" for i in range(IMAGES)]
    return Evaluation(
        checkpoint=f"runs/{name}",
        epoch=3,
        dataset=Path("data/<faces>"),
        split="test",
        input_size=(64, 48),
        tta="tta-flip",
        label_set=LABELS,
        ids=ids,
        summaries={"eagrnet": summary},
        worst=[WorstImage(ids[i], float(summary.images["mean_f1"][i]), picture, picture) for i in summary.worst(worst)],
    )


def test_every_image_has_a_line() -> None:
    one = evaluation()
    lines = list(csv.DictReader(evaluation_files(one)["images.csv"].decode().splitlines()))
    assert [line["id"] for line in lines] == one.ids
    summary = one.summaries["eagrnet"]
    for image, line in enumerate(lines):
        assert line["protocol"] == "eagrnet"
        assert float(line["face_side"]) == pytest.approx(face_sides(summary.counts)[image], abs=0.0001)
        assert float(line["mean_f1"]) == summary.images["mean_f1"][image]
        assert float(line["boundary_f1_2px/<b>&"]) == summary.images["boundary_f1_2px/<b>&"][image]
        assert line["f1/absent"] == ""
        assert line["group/<sex>"] == (WORDS[image] or "")
    assert [line["skin_lightness"] for line in lines[:7]] == ["50.0", "30.06", "90.0", "", "70.0", "71.0", ""]
    assert "face_share" not in lines[0]  # no skin, no face


def test_the_json_holds_everything() -> None:
    one = evaluation()
    summary, found = one.summaries["eagrnet"], json.loads(evaluation_files(one)["scores.json"])
    assert np.array(found["confusion"]).sum() == IMAGES * 30 * 20
    assert found["intervals"]["mean_f1"] == list(summary.intervals["mean_f1"])
    assert "f1/absent" not in found["intervals"]
    assert found["boundary_f1"]["boundary_f1_4px"]["absent"] is None
    assert found["bootstrap"] == {"resamples": 50, "level": 0.95, "seed": 0}
    scarce = {one["name"]: one for one in found["scarce"]}
    assert scarce == {"absent": {"name": "absent", "pixels": 0, "images": 0}}
    assert (found["input_size"], found["tta"], found["classes"]) == ([64, 48], "tta-flip", list(LABELS.names))
    assert [worst["id"] for worst in found["worst"]] == [worst.id for worst in one.worst]
    assert list(found["groups"]) == ["skin_lightness", "<sex>", "face_side"]
    (size,) = found["groups"]["face_side"]["groups"]
    assert (size["name"], size["from"], size["to"], size["images"]) == ("below 64", None, 64, IMAGES)
    assert size["mean_f1"] == found["mean_f1"]
    thirds = found["groups"]["skin_lightness"]
    assert [(third["name"], third["from"], third["to"], third["images"]) for third in thirds["groups"]] == [
        ("low", 30.06, 50, 2), ("middle", 70, 70, 1), ("high", 71, 90, 2)
    ]  # fmt: skip
    assert (thirds["groups"][0]["intervals"], thirds["gaps"]) == ({}, {})
    grouped = summary.groups["<sex>"]
    sexes = found["groups"]["<sex>"]
    for shown, group in zip(sexes["groups"], grouped.groups, strict=True):
        assert (shown["name"], shown["mean_f1"]) == (group.group.name, group.scores.mean_f1)
        assert shown["intervals"] == {name: list(span) for name, span in group.intervals.items()}
    gap = grouped.gaps["mean_f1"]
    assert sexes["gaps"]["mean_f1"] == {
        "worst": gap.worst, "best": gap.best, "difference": gap.difference.value,
        "interval": list(gap.difference.interval or ()), "p_value": gap.difference.p_value,
        "significant": gap.difference.significant,
    }  # fmt: skip
    assert "f1/absent" not in sexes["gaps"]


def test_the_report_shows_scores_and_needs_no_network() -> None:
    one = evaluation()
    text = evaluation_files(one)["report.html"].decode()
    page, summary = Page(text), one.summaries["eagrnet"]
    cells = page.all("td")
    at = cells.index("<b>&")
    assert cells[at + 1 : at + 3] == [f"{100 * summary.scores.get(f'{kind}/<b>&'):.2f}" for kind in ("f1", "iou")]  # type: ignore[operator]
    assert cells[cells.index("absent", at + 1) + 1] == "absent"  # a class of that name has no score
    low, high = summary.intervals["mean_f1"]
    assert f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}" in page.all("span")
    assert f"{100 * summary.scores.mean_f1:.2f}" in page.all("b")
    assert "By lightness of the skin" in page.all("h3")
    at = cells.index("low (30.1 to 50)")
    first = summary.groups["skin_lightness"].groups[0]
    assert cells[at + 1 : at + 3] == ["2", f"{100 * first.scores.mean_f1:.2f}"]
    assert "By <sex>" in page.all("h3")
    gap = summary.groups["<sex>"].gaps["mean_f1"]
    at = cells.index("<sex>")
    value, p_value = gap.difference.value, gap.difference.p_value
    assert cells[at + 1] == f"{100 * value:.2f}"  # type: ignore[operator]
    assert cells[at + 2 : at + 5] == [f"{p_value:.3f}{' *' * gap.difference.significant}", gap.worst, gap.best]
    assert cells[cells.index("lightness of the skin") + 1] == "too few images"
    counts = [int(bar.split(": ")[1].split()[0]) for bar in page.all("title")[1:]]
    assert sum(counts) == IMAGES
    pictures = page.pictures()
    assert [picture.shape for picture in pictures] == [(216, 360, 3)] * 4
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//|url\(|@import|<link|<script|<iframe|<faces>|<i>|<sex>|<f>", bare)


@pytest.mark.parametrize(("worst", "resamples"), [(0, 0), (6, 50)])
def test_a_report_of_little_and_of_much(worst: int, resamples: int) -> None:
    page = Page(evaluation_files(evaluation(worst=worst, resamples=resamples))["report.html"].decode())
    assert len(page.pictures()) == 2 * worst
    assert ("The worst images" in page.all("h2")) == bool(worst)
    assert any("\N{EN DASH}" in text for text in page.all("small")) == bool(resamples)


def test_a_comparison_shows_each_difference() -> None:
    evaluations = [evaluation(0), evaluation(1, name="last.pth")]
    comparison = compare(evaluations)
    files = comparison_files(comparison)
    found = json.loads(files["comparison.json"])
    one = comparison.differences["eagrnet"][0]["mean_f1"]
    assert one.value is not None
    assert one.value == evaluations[1].scores["eagrnet"].mean_f1 - evaluations[0].scores["eagrnet"].mean_f1
    assert found["first"] == "best.pth"
    assert found["differences"]["eagrnet"]["last.pth"]["mean_f1"] == {
        "difference": one.value, "interval": list(one.interval or ()), "p_value": one.p_value,
        "significant": one.significant,
    }  # fmt: skip
    assert list(found["checkpoints"]) == ["best.pth", "last.pth"]
    page = Page(files["comparison.html"].decode())
    assert f"{100 * one.value:+.2f}" in page.all("span")
    assert f"{one.p_value:.3f}{' *' * one.significant}" in page.all("td")


# Folders.


@pytest.fixture
def content(tmp_path: Path) -> Callable[[], dict[str, bytes]]:
    return lambda: {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_a_second_evaluation_takes_the_place_of_the_first(
    tmp_path: Path, content: Callable[[], dict[str, bytes]]
) -> None:
    for files in (evaluation_files(evaluation(0, worst=5)), evaluation_files(evaluation(1, worst=1))):
        prepare_folder(tmp_path)
        write_folder(tmp_path, files)
        (tmp_path / "my-notes.txt").write_text("mine")
        assert content() == {**files, "my-notes.txt": b"mine"}
    prepare_folder(tmp_path)
    write_folder(tmp_path, evaluation_files(evaluation(worst=0)))
    assert not (tmp_path / "worst").exists()


def test_other_files_are_not_written_among(tmp_path: Path) -> None:
    (tmp_path / "worst").mkdir()
    with pytest.raises(OutputError, match=r": holds other files \(worst, \.\.\.\); choose another --output$"):
        prepare_folder(tmp_path)


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, content: Callable[[], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, evaluation_files(evaluation()))
    before = content()
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "report.html":
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"^cannot write .*: No space left on device; free space"):
        write_folder(tmp_path, evaluation_files(evaluation(1)))
    assert content() == before


def test_what_a_killed_evaluation_left_is_cleared_away(tmp_path: Path, content: Callable[[], dict[str, bytes]]) -> None:
    (tmp_path / ".eval-abc").mkdir()
    (tmp_path / ".eval-abc" / "scores.json").write_text("{")
    prepare_folder(tmp_path)
    files = evaluation_files(evaluation())
    write_folder(tmp_path, files)
    assert content() == files


def test_a_killed_evaluation_leaves_the_old_report(tmp_path: Path) -> None:
    """Wherever it is killed: the folder is the old one, or the new one as a whole."""
    folder = tmp_path / "eval"
    write_folder(folder, {"scores.json": b"old", "report.html": b"old", "worst/a.jpg": b""})
    (folder / "notes.txt").write_text("mine")

    class Killed(dict[str, bytes]):
        def items(self) -> Any:
            yield "report.html", b"new"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, Killed())
    assert (folder / "report.html").read_bytes() == (folder / "scores.json").read_bytes() == b"old"
    write_folder(folder, {"scores.json": b"new", "report.html": b"new"})
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "report.html", "scores.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["eval"]


def test_other_files_are_kept_as_they_are_and_devices_left_out(tmp_path: Path) -> None:
    """A stranger's report may hold links to anything."""
    folder = tmp_path / "report"
    (folder / "more").mkdir(parents=True)
    (folder / "scores.json").write_text("{}")
    (folder / "more" / "notes.txt").write_text("mine")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "self").symlink_to(".")
    os.mkfifo(folder / "pipe")
    write_folder(folder, {"scores.json": b"new"})
    assert (folder / "scores.json").read_bytes() == b"new"
    assert (folder / "more" / "notes.txt").read_text() == "mine"
    assert [(folder / name).readlink() for name in ("zero", "self")] == [Path("/dev/zero"), Path()]
    assert not (folder / "pipe").exists()
