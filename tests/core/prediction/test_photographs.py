import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.faces.crops import crop_picture, paste, settle
from faceparse.core.faces.face import Face
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.faces.outline import Length, Outline
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.matrices import read_matrix
from faceparse.core.images.overlay import class_mask, cut_out
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import apply, warp_image
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.parser.inference import Parser, copy_to_host
from faceparse.core.prediction.inputs import Source, gather
from faceparse.core.prediction.parsed_photographs import PhotographParser
from faceparse.core.prediction.photograph_facts import confidences
from faceparse.core.prediction.prediction_ledger import Ledger
from faceparse.core.prediction.saved_photographs import PhotographsReport, note_photographs, saved_photographs
from faceparse.core.prediction.saving import KINDS, Outputs
from faceparse.core.prediction.tool_files import write_tool_files

HELEN: LabelSet = get_label_set("helen")
OUT = Path("out")


def outputs(*kinds: str, shown: tuple[int, ...] = (1,)) -> Outputs:
    return Outputs(OUT, HELEN, kinds or ("labels", "overlays"), shown, "best.pth")


def sources(*typed: Path) -> list[Source]:
    return gather([str(path) for path in typed], OUT, recursive=False, stdin=bytes).photographs


def predict_photographs(parser: Parser, found: list[Source], chosen: Outputs, **options: Any) -> PhotographsReport:
    with closing(Ledger()) as ledger:
        report = note_photographs(
            saved_photographs(PhotographParser(parser, **options), found, chosen), found, chosen, ledger
        )
        write_tool_files(chosen, found, ledger)
    return report


def predict(parser: Parser, *typed: Path, kinds: tuple[str, ...] = (), batch_size: int = 4) -> PhotographsReport:
    return predict_photographs(parser, sources(*typed), outputs(*kinds), batch_size=batch_size)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def saved_label(name: str) -> np.ndarray:
    return np.array(Image.open(OUT / "labels" / f"{name}.png"))


def test_labels_are_the_parsers_at_each_photographs_size(parser: Parser, photographs: Path) -> None:
    assert predict(parser, photographs) == (3, [], [], [])
    paths = [photographs / name for name in ("a.jpg", "b.PNG", "c.bmp")]
    expected = parser.parse([read_image(path) for path in paths])
    for path, label in zip(paths, expected, strict=True):
        with Image.open(OUT / "labels" / f"{path.stem}.png") as picture:
            assert picture.mode == "P"
            assert np.array_equal(np.array(picture), label)
            palette = picture.getpalette()
        assert palette is not None
        assert palette[:33] == HELEN.palette().flatten().tolist()
    assert names(OUT / "labels") == {"a.png", "b.png", "c.png"}
    assert names(OUT) == {"labels", "overlays"}
    assert [label.shape for label in expected] == [(72, 72), (90, 50), (40, 120)]


def test_overlays_paint_everything_but_the_background(parser: Parser, photographs: Path) -> None:
    predict(parser, photographs / "b.PNG")
    image, label = read_image(photographs / "b.PNG").astype(float), saved_label("b")
    colours = HELEN.palette().astype(float)[label]
    expected = np.where(label[..., None] == 0, image, 0.55 * colours + 0.45 * image)
    write_atomic(Path("again.jpg"), encode_jpeg(np.rint(expected).astype(np.uint8)))
    found = read_image(OUT / "overlays" / "b.jpg").astype(float)
    assert np.abs(found - read_image(Path("again.jpg"))).max() <= 12  # rounding before JPEG
    assert len(np.unique(label)) > 3


def test_cut_outs_hold_the_photographs_own_pixels(parser: Parser, photographs: Path) -> None:
    chosen = outputs("labels", "cutouts", shown=(2, 5))
    predict_photographs(parser, sources(photographs / "c.bmp"), chosen)
    with Image.open(OUT / "cutouts" / "c.png") as picture:
        assert picture.mode == "RGBA"
        found = np.array(picture)
    assert np.array_equal(found, cut_out(read_image(photographs / "c.bmp"), class_mask(saved_label("c"), (2, 5))))
    assert {0, 255} == set(found[..., 3].flat)


def test_alpha_is_the_matte_of_the_kept_classes(parser: Parser, photographs: Path) -> None:
    chosen = outputs("labels", "alpha", shown=(1, 2, 3, 4, 5))
    faces = [Face((10, 10, 30, 30)), Face((40, 36, 20, 20))]
    predict_photographs(parser, sources(photographs / "a.jpg"), chosen, finder=lambda where, image: faces)
    with Image.open(OUT / "alpha" / "a.png") as picture:
        assert (picture.mode, picture.size) == ("L", (72, 72))
        found = np.array(picture)
    image = read_image(photographs / "a.jpg")
    crops = crop_picture(image, faces, parser.input_size)
    answers = settle([copy_to_host(parser.logits(torch.from_numpy(crop.image[None])))()[0] for crop in crops], crops)
    owner = paste(answers, crops, (72, 72)).owner
    expected = matte(image, [softmax(answer) for answer in answers], crops, owner, chosen.shown)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert len(np.unique(found)) > 20
    assert 0.02 < (found > 127).mean() < 0.98


def test_a_cut_out_grows_by_a_share_of_each_faces_height(parser: Parser, photographs: Path) -> None:
    faces = [Face((0, 0, 30, 40)), Face((50, 50, 10, 10))]
    finder = lambda where, image: faces  # noqa: E731
    grown = replace(outputs("cutouts", shown=(2, 5)), outline=Outline(grow=Length(0.1, share=True)))
    predict_photographs(parser, sources(photographs / "a.jpg"), outputs("labels", "instances"), finder=finder)
    predict_photographs(parser, sources(photographs / "a.jpg"), grown, finder=finder)
    owner = np.array(Image.open(OUT / "instances" / "a.png"))
    mask = np.isin(saved_label("a"), (2, 5))
    expected = np.zeros((72, 72), bool)
    for number, reach in ((1, 4), (2, 1)):
        rows, columns = np.nonzero(mask & (owner == number))
        for y, x in np.ndindex(72, 72):
            expected[y, x] |= bool(len(rows)) and np.hypot(rows - y, columns - x).min() < reach + 0.5
    assert np.array_equal(np.array(Image.open(OUT / "cutouts" / "a.png"))[..., 3], 255 * expected)
    assert (owner[mask] == 1).any()
    assert (owner[mask] == 2).any()


def test_the_json_counts_pixels_and_coco_names_the_photographs(parser: Parser, photographs: Path) -> None:
    predict(parser, photographs, kinds=("labels", "json", "coco"))
    counts = Counter(saved_label("b").flatten().tolist())
    crops = crop_picture(read_image(photographs / "b.PNG"), None, parser.input_size)
    answer = copy_to_host(parser.logits(torch.from_numpy(crops[0].image[None])))()[0]
    content = json.loads((OUT / "json" / "b.json").read_text())
    assert content == {
        "source": str(photographs / "b.PNG"),
        "model": "best.pth",
        "label_set": "helen",
        "width": 50,
        "height": 90,
        "confidence": pytest.approx(confidences([answer], crops, (90, 50))[0], abs=1e-4),
        "classes": {
            name: {"pixels": counts[i], "fraction": pytest.approx(counts[i] / 4500, abs=1e-6)}
            for i, name in enumerate(HELEN.names)
        },
    }
    coco = json.loads((OUT / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == [
        str(photographs / n) for n in ("a.jpg", "b.PNG", "c.bmp")
    ]
    areas = {one["category_id"]: one["area"] for one in coco["annotations"] if one["image_id"] == 2}
    assert areas == {i: count for i, count in counts.items() if i}


def test_more_photographs_than_a_batch_are_all_done_in_order(parser: Parser, faces: Path) -> None:
    assert predict(parser, faces / "images", batch_size=3).done == 16
    for path in (faces / "images").iterdir():
        (expected,) = parser.parse([read_image(path)])
        assert (saved_label(path.stem) == expected).mean() > 0.999


def test_a_broken_photograph_does_not_cost_the_others(parser: Parser, photographs: Path) -> None:
    whole = (photographs / "a.jpg").read_bytes()
    (photographs / "a.jpg").write_bytes(whole[: len(whole) // 2])
    (photographs / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photographs / "e.jpg").write_text("#!/bin/sh\n")
    report = predict(parser, photographs, batch_size=2, kinds=("labels", "overlays", "coco"))
    assert report.done == 2
    assert [line.split(": ")[0] for line in report.broken] == [
        str(photographs / n) for n in ("a.jpg", "d.png", "e.jpg")
    ]
    assert all("replace the file" in line and "\n" not in line for line in report.broken)
    assert names(OUT / "labels") == {"b.png", "c.png"}
    assert names(OUT / "overlays") == {"b.jpg", "c.jpg"}
    assert len(json.loads((OUT / "coco.json").read_text())["images"]) == 2
    for name in ("b.PNG", "c.bmp"):  # each its own, whoever was left out before it
        (expected,) = parser.parse([read_image(photographs / name)])
        assert np.array_equal(saved_label(Path(name).stem), expected)


def test_each_face_is_parsed_by_itself(parser: Parser) -> None:
    """A large and a small face, and a photograph without one; ten faces more than a batch."""
    image = np.full((200, 300, 3), 128, np.uint8)
    image[20:120, 20:120], image[130:160, 200:230] = 250, 60
    boxes = {
        "two.png": [(20, 20, 100, 100), (200, 130, 30, 30)],
        "none.png": [],
        "many.png": [(5 * i, 5, 4, 4) for i in range(14)],
    }
    for name in boxes:
        write_atomic(Path(name), encode_png(image))

    def finder(where: str, found: np.ndarray) -> list[Face]:
        assert found.shape == image.shape
        return [Face(box) for box in boxes[where]]

    report = predict_photographs(
        parser, sources(*map(Path, boxes)), outputs("labels", "json"), finder=finder, batch_size=4
    )
    assert report == (3, ["none.png"], [], [])
    assert not saved_label("none").any()
    label = saved_label("two")
    assert label[70, 70] == 10  # white, as dark to bright goes
    assert label[145, 215] == 2
    assert not label[:, 270:].any()  # grey, but in nobody's crop
    content = {name: json.loads((OUT / "json" / name).with_suffix(".json").read_text()) for name in boxes}
    assert [face["box"] for face in content["two.png"]["faces"]] == [list(box) for box in boxes["two.png"]]
    assert (content["none.png"]["faces"], len(content["many.png"]["faces"])) == ([], 14)


def test_a_finder_that_does_not_know_a_photograph_leaves_it_out(parser: Parser, photographs: Path) -> None:
    def finder(where: str, image: np.ndarray) -> list[Face]:
        if where.endswith("b.PNG"):
            raise DatasetError(f"{where}: unknown")
        return [Face((10, 10, 20, 20))]

    report = predict_photographs(parser, sources(photographs), outputs(), finder=finder)
    assert report == (2, [], [f"{photographs / 'b.PNG'}: unknown"], [])


def test_transparency_stays_in_cut_outs_and_is_background_where_it_is_whole(parser: Parser, tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (60, 50, 4), dtype=np.uint8)
    rgba[:30, :, 3], rgba[30:45, :, 3], rgba[45:, :, 3] = 0, 100, 255
    write_atomic(tmp_path / "logo.png", encode_png(rgba))
    report = predict_photographs(
        parser, sources(tmp_path / "logo.png"), outputs("labels", "cutouts", shown=tuple(range(11)))
    )
    assert report == (1, [], [], [])
    assert not saved_label("logo")[:30].any()
    cut = np.array(Image.open(OUT / "cutouts" / "logo.png"))
    assert np.array_equal(cut[..., 3], rgba[..., 3])
    assert np.array_equal(cut[30:], rgba[30:])
    assert not cut[:30].any()  # nothing of what cannot be seen


def test_an_animation_is_noticed(parser: Parser, tmp_path: Path) -> None:
    film = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    film[0].save(tmp_path / "a.gif", save_all=True, append_images=film[1:])
    report = predict(parser, tmp_path / "a.gif")
    assert report == (1, [], [], [f"{tmp_path / 'a.gif'}: holds 3 pictures; only the first is taken"])


def test_what_cannot_be_written_ends_it(parser: Parser, photographs: Path) -> None:
    OUT.mkdir()
    (OUT / "overlays").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"^cannot write out/overlays/a.jpg: "):
        predict(parser, photographs, kinds=("labels", "overlays", "coco"))
    assert not (OUT / "coco.json").exists()


def test_instances_and_crops_are_saved_of_each_face(parser: Parser, photographs: Path) -> None:
    faces = [Face((10, 10, 30, 30)), Face((40, 36, 20, 20))]
    options = outputs("labels", "instances", "crops")
    predict_photographs(parser, sources(photographs / "a.jpg"), options, finder=lambda where, image: faces)
    owner = np.array(Image.open(OUT / "instances" / "a.png"))
    assert owner.dtype == np.uint8
    assert set(np.unique(owner)) == {0, 1, 2}
    assert ((owner == 0) == (saved_label("a") == 0)).all()
    assert names(OUT / "crops" / "a") == {f"{number}.{suffix}" for number in (0, 1) for suffix in ("jpg", "png", "npy")}
    for number, face in enumerate(faces):
        matrix = read_matrix(OUT / "crops" / "a" / f"{number}.npy")
        x, y = apply(matrix, np.array([[face.box[0] + face.box[2] / 2 - 0.5, face.box[1] + face.box[3] / 2 - 0.5]]))[0]
        assert (x, y) == pytest.approx((31.5, 31.5))
        crop = read_image(OUT / "crops" / "a" / f"{number}.jpg")
        assert crop.shape == (64, 64, 3)
        expected = warp_image(read_image(photographs / "a.jpg"), matrix, (64, 64))
        assert np.abs(crop.astype(int) - expected).mean() < 6


def test_a_photograph_as_a_whole_has_one_instance_and_one_crop(parser: Parser, photographs: Path) -> None:
    predict_photographs(parser, sources(photographs / "a.jpg"), outputs("instances", "crops"))
    assert set(np.unique(np.array(Image.open(OUT / "instances" / "a.png")))) <= {0, 1}
    assert names(OUT / "crops" / "a") == {"0.jpg", "0.png", "0.npy"}


def test_masks_and_arrays_have_the_labels(parser: Parser, photographs: Path) -> None:
    kinds = ("labels", "masks", "npy")
    predict_photographs(parser, sources(photographs / "c.bmp"), outputs(*kinds, shown=(2, 5)))
    label = saved_label("c")
    assert np.array_equal(np.load(OUT / "npy" / "c.npy"), label)
    assert names(OUT / "masks" / "c") == {"left_brow.png", "right_eye.png"}
    for name, id_ in (("left_brow", 2), ("right_eye", 5)):
        assert np.array_equal(np.array(Image.open(OUT / "masks" / "c" / f"{name}.png")), 255 * (label == id_))


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelme", "labelstudio"])
def test_files_for_annotation_tools_are_drawn_again_to_the_pixel(parser: Parser, photographs: Path, kind: str) -> None:
    faces = [Face((10, 10, 30, 30)), Face((40, 36, 20, 20))]
    found = sources(photographs / "a.jpg", photographs / "c.bmp")
    predict_photographs(parser, found, outputs("labels", kind), finder=lambda where, image: faces)
    one = {"coco": "coco.json", "cvat": "cvat.xml", "labelstudio": "labelstudio.json"}.get(kind)
    files = [OUT / one] if one else [OUT / "labelme" / "a.json", OUT / "labelme" / "c.json"]
    read = [photograph for file in files for photograph in read_annotations(file)]
    assert [Path(one.file_names[0]).name for one in read] == ["a.jpg", "c.bmp"]
    for photograph in read:
        label = saved_label(Path(photograph.file_names[0]).stem)
        assert len(np.unique(label)) > 3
        assert np.array_equal(photograph.draw(HELEN, (1, 1)).label, label)


def test_cvat_gets_paths_below_the_folder_that_was_searched(parser: Parser, photographs: Path) -> None:
    (photographs / "trip").mkdir()
    (photographs / "a.jpg").rename(photographs / "trip" / "a.jpg")
    found = gather([str(photographs)], OUT, recursive=True, stdin=bytes).photographs
    predict_photographs(parser, found, outputs("cvat"))
    images = ElementTree.parse(OUT / "cvat.xml").iter("image")
    assert sorted(str(image.get("name")) for image in images) == ["b.PNG", "c.bmp", "trip/a.jpg"]


def test_labelmes_file_leads_to_the_photograph(parser: Parser, photographs: Path) -> None:
    predict_photographs(parser, sources(photographs / "a.jpg"), outputs("labelme"))
    path = json.loads((OUT / "labelme" / "a.json").read_text())["imagePath"]
    assert (OUT / "labelme" / path).samefile(photographs / "a.jpg")


def test_label_studio_gets_its_interface(parser: Parser, photographs: Path) -> None:
    predict_photographs(parser, sources(photographs / "a.jpg"), outputs("labelstudio"))
    interface = ElementTree.parse(OUT / "labelstudio.xml")
    assert [one.get("value") for one in interface.iter("Label")] == list(HELEN.names[1:])


def test_masks_grow_and_fade(parser: Parser, photographs: Path) -> None:
    outline = Outline(Length(4.0), Length(3.0))
    options = replace(outputs("labels", "masks", shown=(2,)), outline=outline)
    predict_photographs(parser, sources(photographs / "c.bmp"), options)
    mask, inside = np.array(Image.open(OUT / "masks" / "c" / "left_brow.png")), saved_label("c") == 2
    assert (mask[inside] == 255).all()
    assert np.count_nonzero(mask[~inside]) > 0
    assert len(np.unique(mask)) > 2


@pytest.mark.parametrize("there", [None, [], [Face((10, 10, 30, 30)), Face((40, 36, 20, 20))]])
def test_the_files_of_a_photograph_are_known(parser: Parser, photographs: Path, there: list[Face] | None) -> None:
    chosen = outputs(*KINDS, shown=(2, 5))
    finder = None if there is None else lambda where, image: there
    predict_photographs(parser, sources(photographs / "a.jpg"), chosen, finder=finder)
    of_all = {OUT / name for name in ("coco.json", "cvat.xml", "labelstudio.json", "labelstudio.xml")}
    found = {path for path in OUT.rglob("*") if path.is_file()}
    assert found - of_all == {Path(path) for path in chosen.files("a", None if there is None else len(there))}
