"""What was typed, checked as a whole."""

import sys
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import DatasetError, OutputError, ResourceError, SettingsError
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.prediction.prediction import PredictionPlan, plan_prediction
from tests.core.prediction.films import make_video

HELEN = get_label_set("helen")


def plan(*typed: object, output: Path = Path("out"), **options: Any) -> PredictionPlan:
    return plan_prediction([str(one) for one in typed], output, label_set=HELEN, model="best.pth", **options)


def test_labels_and_overlays_are_saved_unless_something_else_is_asked_for(photographs: Path) -> None:
    chosen = plan(photographs)
    assert (chosen.outputs.kinds, chosen.film_outputs.kinds) == (("labels", "overlays"), ("overlays",))
    assert chosen.outputs.shown == tuple(range(1, 11))
    chosen = plan(photographs, save="json, cutouts,json", classes="hair, nose")
    assert chosen.outputs.kinds == chosen.film_outputs.kinds == ("json", "cutouts")
    assert chosen.outputs.shown == (10, 6)
    assert plan(photographs, save="cutouts", classes="mouth,hair").outputs.shown == (7, 8, 9, 10)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"save": "label"},
            "--save 'label': not one of labels, overlays, cutouts, alpha, json, instances, crops, masks, npy, probabil",
        ),
        ({"save": "cutouts", "classes": "hat"}, "--classes 'hat': not in helen (background, skin, "),
        ({"save": "cutouts", "classes": "zzz"}, "--classes 'zzz': not in helen (background, skin, "),
        ({"classes": "hair"}, "--classes is for cut-outs, alpha and masks; add --save cutouts, alpha or masks"),
        ({"grow": "3"}, "--grow and --feather are for cut-outs and masks; add --save cutouts or masks"),
        (
            {"save": "alpha", "feather": "2%"},
            "--grow and --feather are for cut-outs and masks; add --save cutouts or masks",
        ),
        ({"save": "cutouts", "grow": "3px"}, "--grow 3px: write pixels such as 12, or % of the face's height such as"),
        ({"save": "cutouts", "feather": "-3"}, "--feather -3: write pixels such as 12, or % of the face's height such"),
        ({"smooth": 0.5}, "--smooth is for videos and cameras, and there are only photographs"),
        ({"faces": "faces.pt"}, "--faces faces.pt: not auto, none, YuNet's .onnx file or a .json file of boxes"),
        ({"min_face": 0.0}, "--min-face 0: a share of the picture's height, from 0.01 to 1"),
    ],
    ids=str,
)
def test_what_could_do_nothing_is_refused(photographs: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        plan(photographs, **options)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"save": "coco"}, "--save coco is for photographs, and there are only videos; use labels or json"),
        ({"save": "npy,masks"}, "--save npy is for photographs, and there are only videos; use labels or json"),
        ({"smooth": 1}, "--smooth 1: from 0 (each frame for itself) to less than 1, such as 0.8"),
        (
            {"faces": "boxes.json"},
            "--faces boxes.json: boxes are of photographs; for videos name YuNet's .onnx file",
        ),
    ],
    ids=str,
)
def test_what_no_video_can_have_is_refused(options: dict[str, Any], expected: str) -> None:
    Path("film.mp4").touch()
    Path("boxes.json").write_text("{}")
    with pytest.raises(SettingsError) as caught:
        plan("film.mp4", **options)
    assert str(caught.value) == expected


def test_classes_that_would_have_one_mask_are_refused(photographs: Path) -> None:
    own = HELEN.model_copy(update={"classes": {"background": "#000000", "a/b": "#ff0000", "A b": "#00ff00"}})
    with pytest.raises(SettingsError) as caught:
        plan_prediction([str(photographs)], Path("out"), label_set=own, model="best.pth", save="masks")
    assert str(caught.value) == "--save masks: 'a/b' and 'A b' would both be written as A_b.png; rename one"


def test_without_pyav_videos_are_refused_before_anything_is_done(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (photographs / "film.mov").touch()
    with pytest.raises(ResourceError, match="videos need PyAV"):
        plan(photographs)
    assert not Path("out").exists()


def test_photographs_and_films_go_into_one_report(parser: Parser, photographs: Path) -> None:
    make_video(photographs / "film.mp4", [read_image(photographs / "a.jpg")] * 3)
    (photographs / "no.mp4").write_text("no film")
    (photographs / "no.jpg").write_text("no photograph")
    report = plan(photographs).run(parser)
    assert (report.photographs, [film.frames for film in report.films]) == (3, [3])
    assert [line.split(": ")[0] for line in report.broken] == [str(photographs / name) for name in ("no.jpg", "no.mp4")]
    found = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.*"))
    assert found == [
        *("failed.csv", "labels/a.png", "labels/b.png", "labels/c.png"),
        *("ledger/all.sqlite", "ledger/settings.json"),
        *("overlays/a.jpg", "overlays/b.jpg", "overlays/c.jpg", "overlays/film.mp4"),
    ]


def test_a_photographs_bytes_come_from_standard_input(parser: Parser, photographs: Path) -> None:
    report = plan("-", stdin=(photographs / "a.jpg").read_bytes).run(parser)
    assert report.photographs == 1
    assert Path("out/labels/stdin.png").is_file()
    assert plan("-", stdin=bytes).run(parser).broken == ["stdin: not a readable image; replace the file"]


def test_a_dataset_is_not_written_into(parser: Parser, own_faces: Path) -> None:
    before = {path: path.read_bytes() for path in own_faces.rglob("*") if path.is_file()}
    with pytest.raises(OutputError) as caught:
        plan(own_faces / "images", output=own_faces).run(parser)
    expected = "holds a dataset, whose labels would be overwritten; choose another --output"
    assert str(caught.value) == f"{own_faces}: {expected}"
    assert {path: path.read_bytes() for path in own_faces.rglob("*") if path.is_file()} == before


def test_an_output_that_is_a_file_is_refused(parser: Parser, photographs: Path) -> None:
    Path("out").write_text("mine")
    with pytest.raises(OutputError, match=r"^cannot write out: File exists; choose another place$"):
        plan(photographs).run(parser)
    assert Path("out").read_text() == "mine"


def test_inputs_that_do_not_exist_are_named() -> None:
    with pytest.raises(DatasetError, match="^nothing.jpg: no such photograph, video or folder$"):
        plan("nothing.jpg")


@pytest.mark.parametrize("kind", ["overlays", "labels"])
def test_an_input_is_never_written_over(photographs: Path, tmp_path: Path, kind: str) -> None:
    inside = tmp_path / "in" / kind / "a.jpg"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(next(photographs.glob("*.*")).read_bytes())
    with pytest.raises(OutputError, match=r"a\.jpg: lies where outputs are written, and one could replace it; choose"):
        plan(inside, output=tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(OutputError, match="lies where outputs are written"):
        plan(tmp_path / "link" / kind / "a.jpg", output=tmp_path / "in")
    plan(inside, output=tmp_path / "in", save="json")  # nothing of it goes there
