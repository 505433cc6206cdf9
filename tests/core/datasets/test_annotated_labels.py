"""Photographs that were labelled with an annotation tool, as `prepare folder` finds and draws them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceparse.core.annotations.coco import CocoFile
from faceparse.core.annotations.cvat import CvatFile
from faceparse.core.annotations.label_studio import LabelStudioFile
from faceparse.core.annotations.labelme import encode_labelme
from faceparse.core.datasets.folder import Folder
from faceparse.core.datasets.layout import SPLITS, DatasetFolder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.prepare_by_name import prepare_by_name
from faceparse.core.datasets.prepare_report import PrepareReport
from faceparse.core.errors import DatasetError, ProblemsError, SettingsError
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.labels.mapping import mapping_from_dict

RANDOM = np.random.default_rng(0)
SIZE = (24, 32)
MINE = LabelSet(
    name="mine",
    side="none",
    classes={"background": "#000000", "skin": "#e9b08c", "nose": "#1f77b4", "mouth": "#17becf"},
)
NAMES = ["anna/1", "anna/2", "ben/1", "cy"]


def label() -> np.ndarray:
    return RANDOM.integers(0, 4, (6, 8), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)


SKIP = "; --on-broken skip leaves them out"
LABELS = {name: label() for name in NAMES}
OWNER = np.ones(SIZE, np.uint16)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Photographs in folders, two of them with one file name."""
    for name in NAMES:
        path = tmp_path / "raw" / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    return tmp_path / "raw"


def labelme(raw: Path, name: str, image: str | None = None, label: np.ndarray | None = None) -> Path:
    """A file beside its photograph."""
    path = raw / "photos" / f"{name}.json"
    found = LABELS[name] if label is None else label
    path.write_bytes(encode_labelme(image or f"{Path(name).name}.png", found, OWNER, MINE))
    return path


def changed(path: Path, **others: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | others))
    return path


def folder(raw: Path, annotations: str, **options: Any) -> Folder:
    shares = {"val": 0.0, "test": 0.0}
    return Folder(raw, label_set=MINE, images="photos/**/*.png", annotations=annotations, **(shares | options))


def prepared(raw: Path, annotations: str, **options: Any) -> tuple[PrepareReport, dict[str, np.ndarray]]:
    """The report, and the labels by name."""
    out = raw.parent / "out"
    report = prepare(folder(raw, annotations, **options), out)
    data = DatasetFolder(out)
    samples = [one for split in SPLITS if data.list_path(split).is_file() for one in data.samples(split)]
    return report, {one.id: read_label(out / "labels" / f"{one.id}.png") for one in samples}


def refusal(raw: Path, annotations: str, **options: Any) -> str:
    with pytest.raises((DatasetError, SettingsError)) as caught:
        prepared(raw, annotations, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def must_be(found: Mapping[str, np.ndarray], names: Sequence[str] = NAMES) -> None:
    assert set(found) == set(names)
    for name in names:
        assert np.array_equal(found[name], LABELS[name]), name


@pytest.mark.parametrize("tool", [CocoFile, CvatFile, LabelStudioFile])
def test_one_file_labels_all_photographs(raw: Path, tool: Any) -> None:
    with tool.open(raw, MINE) as file:
        for name in NAMES:
            file.add(f"album/photos/{name}.png", SIZE, file.describe(LABELS[name], OWNER))
    report, found = prepared(raw, tool.name)
    must_be(found)
    assert not [notice for notice in report.notices if "annotat" in notice]


def test_labelmes_files_lie_beside_their_photographs(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name, f"C:\\pictures\\{name.replace('/', chr(92))}.PNG")
    must_be(prepared(raw, "photos/**/*.json")[1])


def test_files_of_several_tools_are_read_together_from_any_place(raw: Path) -> None:
    """From the working folder, as `predict` writes them."""
    Path("predictions").mkdir()
    for name in NAMES[:2]:
        Path("predictions", f"{Path(name).name}.json").write_bytes(
            encode_labelme(f"../raw/photos/{name}.png", LABELS[name], OWNER, MINE)
        )
    with CvatFile.open(Path("predictions"), MINE) as file:
        for name in NAMES[2:]:
            file.add(f"photos/{name}.png", SIZE, file.describe(LABELS[name], OWNER))
    Path("predictions/cvat.xml").rename("predictions/cvat.json")
    must_be(prepared(raw, "predictions/*.json")[1])
    source = folder(raw, str(Path("predictions").resolve() / "*.json"))
    assert sorted(item.id for item in source.items()) == sorted(NAMES)


def test_groups_splits_and_mappings_apply(raw: Path) -> None:
    with CocoFile.open(raw, MINE) as file:
        for name in NAMES:
            file.add(f"{name}.png", SIZE, file.describe(LABELS[name], OWNER))
    rows = "id,split\nanna/1,train\nanna/2,train\nben/1,val\ncy,test\n"
    Path("splits.csv").write_text(rows)
    mapping = mapping_from_dict(
        {"background": ["background"], "face": ["skin", "nose"], "ignored": ["mouth"]}, "m", "m"
    )
    report, found = prepared(
        raw, "coco.json", splits="splits.csv", group="{group}/*", mapping=mapping, val=None, test=None
    )
    assert report.splits == {"train": 2, "val": 1, "test": 1}
    table = np.array([0, 1, 1, 255])
    assert all(np.array_equal(found[name], table[LABELS[name]]) for name in NAMES)


def test_an_option_of_prepare_names_the_files(raw: Path) -> None:
    with CocoFile.open(raw, MINE) as file:
        for name in NAMES:
            file.add(f"{name}.png", SIZE, file.describe(LABELS[name], OWNER))
    Path("mine.toml").write_text(
        'name = "mine"\nside = "none"\n[classes]\n'
        + "\n".join(f'{name} = "{colour}"' for name, colour in MINE.classes.items())
    )
    options = {"images": "photos/**/*.png", "annotations": raw / "coco.json", "label_set": "mine.toml", "processes": 2}
    prepare_by_name("folder", raw, Path("out"), options)
    for name in NAMES:
        assert np.array_equal(read_label(Path("out/labels") / f"{name}.png"), LABELS[name])


# What does not fit together.


def test_photographs_without_an_annotation_are_named_or_left_out(raw: Path) -> None:
    for name in NAMES[:3]:
        labelme(raw, name)
    missing = f"{raw}/photos/cy.png: no annotation of it in photos/**/*.json"
    assert refusal(raw, "photos/**/*.json") == f"1 of 4 could not be prepared: {missing}{SKIP}"
    report, found = prepared(raw, "photos/**/*.json", on_broken="skip")
    must_be(found, NAMES[:3])
    assert report.left_out == (missing,)


def test_a_name_that_two_photographs_have_is_an_error_without_folders(raw: Path) -> None:
    for name in ("anna/2", "cy"):
        labelme(raw, name)
    file = raw / "photos" / "x.json"
    file.write_bytes(encode_labelme("1.png", LABELS["anna/1"], OWNER, MINE))
    message = refusal(raw, "photos/**/*.json")
    assert message.count("1.png' may be") == 2
    assert (
        f"{file}: '{raw}/photos/1.png' may be {raw}/photos/anna/1.png or {raw}/photos/ben/1.png; give them names"
        in message
    )
    changed(file, imagePath="anna/1.png")
    assert f"{raw}/photos/ben/1.png: no annotation of it" in refusal(raw, "photos/**/*.json")


def test_a_path_from_labelmes_own_folder_tells_photographs_of_one_name_apart(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name)
    must_be(prepared(raw, "photos/**/*.json")[1])


def test_a_photograph_that_is_annotated_twice_is_an_error(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name, f"{name}.png")
    again = raw / "photos" / "again.json"
    again.write_bytes((raw / "photos" / "cy.json").read_bytes())
    assert refusal(raw, "photos/**/*.json") == (
        f"1 of 4 could not be prepared: {raw}/photos/cy.png: is annotated 2 times, in {again} and "
        f"{raw}/photos/cy.json; keep one of them{SKIP}"
    )


def test_all_unknown_names_are_in_one_line(raw: Path) -> None:
    for name in NAMES:
        path = labelme(raw, name, f"{name}.png")
        path.write_text(path.read_text().replace('"mouth"', '"mouht"').replace('"skin"', '"Haut"'))
    message = refusal(raw, "photos/**/*.json")
    assert "'mouht' is no class of mine (" in message
    assert "; did you mean 'mouth'?)" in message
    assert "'Haut' is no class of mine (" in message
    assert message.endswith(
        "; rename them, or add them to the label set, whose classes are background, skin, nose, mouth"
    )


def test_regions_that_do_not_fit_are_all_named(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name, f"{name}.png")
    changed(raw / "photos" / "cy.json", imageWidth=33)
    line = [{"label": "skin", "points": [[1, 1], [2, 2]], "shape_type": "polygon"}]
    changed(raw / "photos" / "ben" / "1.json", shapes=line)
    assert refusal(raw, "photos/**/*.json") == (
        f"2 of 4 could not be prepared: {raw}/photos/ben/1.json: ben/1.png: shapes.0 (skin): 2 points are no polygon; "
        f"draw it again; {raw}/photos/cy.json: label is 33 x 24, its image 32 x 24{SKIP}"
    )


def test_files_that_cannot_be_read_are_all_named(raw: Path) -> None:
    first, _ = [labelme(raw, name, f"{name}.png") for name in NAMES[:2]]
    right = first.read_bytes()
    (raw / "photos" / "cy.json").write_text("{}")
    (raw / "photos" / "x.json").write_text("[")
    (raw / "photos" / "y.json").write_text('{"_via_settings": {}}')
    changed(first, shapes=[{"label": "Haut", "points": [[1, 1], [2, 2]], "shape_type": "polygon"}])
    tools = "not LabelMe, COCO, CVAT for images or Label Studio"
    with pytest.raises(ProblemsError) as caught:
        prepared(raw, "photos/**/*.json", on_broken="skip")
    one, second, name, *others = caught.value.problems
    assert caught.value.summary == f"{3 + len(others)} problems"
    assert one.startswith(f"{raw}/photos/x.json: not valid JSON or XML (")
    assert second == f"{raw}/photos/y.json: {tools} (_via_settings); export it as one of them"
    assert name.startswith(f"{first}: 'Haut' is no class of mine (1 region")
    assert f"{raw}/photos/cy.json: {tools} (empty); export it as one of them" in others
    first.write_bytes(right)
    (raw / "photos" / "x.json").unlink()
    (raw / "photos" / "y.json").unlink()
    report, found = prepared(raw, "photos/**/*.json", on_broken="skip")
    must_be(found, NAMES[:2])
    assert report.left_out[1] == f"{raw}/photos/cy.json: {tools} (empty); export it as one of them"


def test_annotations_without_photograph_or_region_and_crossings_are_noticed(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name, f"{name}.png")
    changed(raw / "photos" / "cy.json", shapes=[])
    (raw / "photos" / "gone.json").write_bytes(encode_labelme("gone.png", LABELS["cy"], OWNER, MINE))
    (raw / "photos" / "ben" / "1.json").unlink()
    star = [[16 + 10 * np.sin(0.8 * i * np.pi), 12 - 10 * np.cos(0.8 * i * np.pi)] for i in range(5)]
    result = {"type": "polygonlabels", "original_width": 32, "original_height": 24}
    value = {"points": (np.array(star) / [0.32, 0.24]).tolist(), "polygonlabels": ["skin"]}
    task = {"data": {"image": "ben/1.png"}, "annotations": [{"result": [result | {"value": value}]}]}
    (raw / "photos" / "star.json").write_text(json.dumps([task]))
    report, found = prepared(raw, "photos/**/*.json", on_broken="skip")
    assert "cy" not in found  # nobody has labelled it yet
    assert report.left_out == (f"{raw}/photos/cy.png: annotated without any region in {raw}/photos/cy.json; label it",)
    assert report.notices[0] == f"annotations without a photograph: {raw}/photos/gone.png"
    (crossing,) = [notice for notice in report.notices if "crosses" in notice]
    assert crossing.startswith("ben/1: an outline crosses itself; ")
    assert crossing.endswith(" pixels that it surrounds twice count as outside")
    assert found["ben/1"][12, 16] == 0


def test_a_region_of_background_labels_a_photograph_without_a_face(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name, f"{name}.png")
    corners = [[0, 0], [5, 0], [5, 5]]
    changed(raw / "photos" / "cy.json", shapes=[{"label": "_background_", "points": corners, "shape_type": "polygon"}])
    report, found = prepared(raw, "photos/**/*.json")
    must_be({name: found[name] for name in NAMES[:3]}, NAMES[:3])
    assert (found["cy"].any(), report.left_out) == (False, ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"labels": "masks/*.png"}, "--labels: is for label pictures; leave it out, or --annotations"),
        ({"ignored": "9"}, "--ignored: is for label pictures; leave it out, or --annotations"),
    ],
)
def test_options_of_label_pictures_are_refused(raw: Path, options: dict[str, Any], expected: str) -> None:
    assert refusal(raw, "coco.json", **options) == expected


def test_files_that_are_not_there_are_named(raw: Path) -> None:
    assert refusal(raw, "*.xml") == (
        f"--annotations *.xml: no such file, neither in {raw} nor here; name the file, or all by a pattern such as "
        "'photos/*.json'"
    )


def test_a_changed_file_is_drawn_again(raw: Path) -> None:
    for name in NAMES:
        labelme(raw, name, f"{name}.png")
    prepared(raw, "photos/**/*.json")
    now = {name: LABELS[name] for name in NAMES[:3]} | {"cy": 3 - LABELS["cy"]}
    labelme(raw, "cy", "cy.png", now["cy"])
    report, found = prepared(raw, "photos/**/*.json")
    assert report.done == 1
    assert all(np.array_equal(found[name], now[name]) for name in NAMES)
