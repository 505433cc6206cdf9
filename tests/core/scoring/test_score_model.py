import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from faceparse.core.datasets.dataset_groups import write_groups
from faceparse.core.datasets.layout import fingerprint, write_label_set
from faceparse.core.errors import CheckpointError, DatasetError, SettingsError
from faceparse.core.images.crop import prepare_photo
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import unwarp_label
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.labels.mapping import ClassMapping, known_mapping
from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.parser.inference import Parser, load_parser
from faceparse.core.parser.released_names import released_state
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.scoring.built_in_groups import photograph_groupings
from faceparse.core.scoring.evaluation import run_evaluations
from faceparse.core.scoring.model_facts import ModelFile
from faceparse.core.scoring.report_files import evaluation_files
from faceparse.core.scoring.score_files import read_scores
from faceparse.core.scoring.score_model import plan_evaluations, score_checkpoint
from faceparse.core.scoring.scores import compute_all_scores
from faceparse.core.scoring.split import find_split
from faceparse.core.scoring.summary import Evaluation
from faceparse.core.scoring.tta import augmented_network
from faceparse.core.settings import ModelSettings
from faceparse.core.training.run import RunResult
from tests.conftest import Bands

CPU = torch.device("cpu")
HELEN = get_label_set("helen")


def scored(checkpoint: Checkpoint, *, batch_size: int | None = None, **options: Any) -> Evaluation:
    (plan,) = plan_evaluations([checkpoint], **options)
    return score_checkpoint(plan, device=CPU, batch_size=batch_size, resamples=10, worst=1)


@pytest.fixture(scope="module")
def checkpoint(trained: RunResult) -> Checkpoint:
    return read_checkpoint(trained.best)


@pytest.fixture(scope="module")
def evaluation(checkpoint: Checkpoint) -> Evaluation:
    return scored(checkpoint)


def listed(root: Path, split: str) -> list[tuple[Path, Path]]:
    lines = (root / f"{split}_list.txt").read_text().splitlines()
    return [(root / image, root / label) for image, label in (line.split() for line in lines)]


def slow_f1(pairs: list[tuple[np.ndarray, np.ndarray]], ids: set[int]) -> float | None:
    """2 I / (A + B) of (truth, prediction) over a whole set, by looking at every pixel."""
    both = truths = predictions = 0
    for truth, prediction in pairs:
        for t, p in zip(truth.flat, prediction.flat, strict=True):
            truths += int(t) in ids
            predictions += int(p) in ids and int(t) != 255
            both += int(t) in ids and int(p) in ids
    return 2 * both / (truths + predictions) if truths else None


def test_scores_are_those_of_every_pixel_of_the_split(
    checkpoint: Checkpoint, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ParsingNetwork(Bands(), checkpoint.settings.data)  # type: ignore[arg-type]
    parser = Parser(network, CPU)
    monkeypatch.setattr("faceparse.core.scoring.score_model.augmented_network", lambda *_: network)
    evaluation = scored(checkpoint)
    assert (evaluation.split, len(evaluation.ids), list(evaluation.scores)) == ("test", 2, ["eagrnet"])
    assert evaluation.dataset == faces
    files = listed(faces, "test")
    photos = [prepare_photo(read_image(image), parser.input_size) for image, _ in files]
    ids = parser.parse_crops(torch.from_numpy(np.stack([photo.crop for photo in photos])))
    predictions = [unwarp_label(one, photo.matrix, photo.size) for one, photo in zip(ids, photos, strict=True)]
    pairs = [(read_label(label), prediction) for (_, label), prediction in zip(files, predictions, strict=True)]
    label_set = get_label_set("helen")
    expected = {name: slow_f1(pairs, {i}) for i, name in enumerate(label_set.names)}
    assert evaluation.scores["eagrnet"].f1 == pytest.approx(expected)
    assert evaluation.scores["eagrnet"].merged_f1["overall"] == pytest.approx(slow_f1(pairs, set(range(2, 10))))
    present = [value for name, value in expected.items() if value is not None and name != "background"]
    assert evaluation.scores["eagrnet"].mean_f1 == pytest.approx(sum(present) / len(present))
    accuracy = np.mean([truth == prediction for truth, prediction in pairs])
    assert evaluation.scores["eagrnet"].pixel_accuracy == pytest.approx(accuracy)
    assert sum(value > 0 for value in present) > 3


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_split_can_be_scored(checkpoint: Checkpoint, faces: Path, split: str) -> None:
    found = scored(checkpoint, split=split, batch_size=3)
    assert (found.split, len(found.ids)) == (split, len(listed(faces, split)))


def test_another_dataset_and_crop_can_be_named(checkpoint: Checkpoint, evaluation: Evaluation, own_faces: Path) -> None:
    lines = (own_faces / "test_list.txt").read_text().splitlines()
    (own_faces / "test_list.txt").write_text(lines[0])
    found = scored(checkpoint, data_dir=own_faces, input_size=(96, 96))
    assert (found.dataset, len(found.ids)) == (own_faces, 1)
    assert found.scores != evaluation.scores


def test_an_evaluation_says_what_was_scored_where(
    checkpoint: Checkpoint, evaluation: Evaluation, faces: Path, tmp_path: Path
) -> None:
    assert evaluation.fingerprint == fingerprint(faces, ["test"])["test"]
    data = checkpoint.path.read_bytes()
    assert evaluation.model_file == ModelFile(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert (evaluation.licence, evaluation.truth, evaluation.notes) == (checkpoint.licence, {}, [])
    assert evaluation.speed is not None
    assert evaluation.finished is not None
    (tmp_path / "two.toml").write_text(f"rest = ['background']\nface = {list(HELEN.names[1:])}")
    mapped = scored(checkpoint, mapping=tmp_path / "two.toml")
    assert mapped.truth == {"rest": ["background"], "face": list(HELEN.names[1:])}


def test_intervals_draw_the_groups_of_the_dataset_whole(
    checkpoint: Checkpoint, own_faces: Path, tmp_path: Path
) -> None:
    alone = scored(checkpoint, data_dir=own_faces, split="train")
    people = {name: "anna" if n < 9 else f"person {n}" for n, name in enumerate(alone.ids)}
    write_groups(own_faces, people)
    found = scored(checkpoint, data_dir=own_faces, split="train")
    summary = found.summaries["eagrnet"]
    assert found.scores == alone.scores
    assert summary.intervals != alone.summaries["eagrnet"].intervals
    weights = np.random.default_rng(0).multinomial(4, np.full(4, 1 / 4), 10)  # of anna and three others
    order = sorted(set(people.values()))
    for resample, weight in enumerate(weights):
        drawn = np.repeat(np.arange(12), [weight[order.index(people[name])] for name in alone.ids])
        expected = compute_all_scores(summary.counts.of(drawn).sum(), HELEN).mean_f1
        assert summary.resampled["mean_f1"][resample] == expected
    files = evaluation_files(found)
    assert "bootstrap intervals over 4 groups of groups.csv, each drawn whole" in files["report.html"].decode()
    (tmp_path / "scores.json").write_bytes(files["scores.json"])
    said = read_scores(tmp_path / "scores.json").bootstrap
    assert said is not None
    assert said.groups == 4
    write_groups(own_faces, people | {alone.ids[0]: "person 9", alone.ids[9]: "anna"})
    (tmp_path / "scores.json").write_bytes(
        evaluation_files(scored(checkpoint, data_dir=own_faces, split="train"))["scores.json"]
    )
    assert (read_scores(tmp_path / "scores.json").bootstrap or said).grouping != said.grouping


def test_a_bad_file_of_groups_is_told_before_the_work(checkpoint: Checkpoint, own_faces: Path) -> None:
    write_groups(own_faces, {"nobody": "anna"})
    with pytest.raises(DatasetError, match=r"groups.csv: names no photograph of train, val, test; write their ids"):
        scored(checkpoint, data_dir=own_faces)


def test_scores_are_reproduced(checkpoint: Checkpoint, evaluation: Evaluation) -> None:
    assert scored(checkpoint).scores == evaluation.scores


def test_released_checkpoints_are_scored_on_bgr_images(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one: 67 M parameters."""
    torch.manual_seed(0)
    torch.save(released_state(build_model(ModelSettings(), 11)), tmp_path / "released.pth")
    checkpoint = read_checkpoint(tmp_path / "released.pth")
    seen: list[tuple[Tensor, Tensor]] = []

    def listen(*arguments: Any) -> Any:
        network: Any = augmented_network(*arguments)
        network.logits.register_forward_hook(lambda _, given, logits: seen.append((given[0], logits)))
        return network

    monkeypatch.setattr("faceparse.core.scoring.score_model.augmented_network", listen)
    found = scored(checkpoint, data_dir=faces, input_size=(64, 64))
    (images, logits), *_ = seen  # then the speed is measured, and the worst image is painted
    assert images.shape == (2, 3, 64, 64)
    for image, (path, _) in zip(images, listed(faces, "test"), strict=True):
        bgr = cv2.imread(str(path))
        assert bgr is not None
        normal = (cv2.resize(bgr, (64, 64)) / 255.0 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        assert image.mean(dim=(1, 2)).tolist() == pytest.approx(normal.mean(axis=(0, 1)).tolist(), abs=0.02)
        assert abs(image[0].mean() - image[2].mean()) > 0.05  # so that the order is seen
    enlarged = torch.nn.functional.interpolate(logits, size=(72, 72), mode="nearest").argmax(dim=1).numpy()
    truths = [read_label(label) for _, label in listed(faces, "test")]
    accuracy = np.mean([truth == prediction for truth, prediction in zip(truths, enlarged, strict=True)])
    assert found.scores["eagrnet"].pixel_accuracy == pytest.approx(
        accuracy, abs=0.03
    )  # the two enlarge a little differently
    assert set(found.scores["eagrnet"].f1) == set(get_label_set("helen").names)


def test_merged_scores_are_those_of_the_datasets_own_set(checkpoint: Checkpoint, own_faces: Path) -> None:
    assert set(scored(checkpoint).scores["eagrnet"].merged_f1) == set(HELEN.merged)
    write_label_set(own_faces, get_label_set("lapa"))  # the same classes, other merged scores
    assert scored(checkpoint, data_dir=own_faces).scores["eagrnet"].merged_f1 == {}
    named = scored(checkpoint, data_dir=own_faces, dataset="helen")
    assert set(named.scores["eagrnet"].merged_f1) == set(HELEN.merged)


def test_a_folder_that_does_not_say_its_classes_has_the_checkpoints(checkpoint: Checkpoint, own_faces: Path) -> None:
    for name in ("label_set.toml", "label_names.txt"):
        (own_faces / name).unlink()
    result = scored(checkpoint, data_dir=own_faces)
    assert list(result.scores["eagrnet"].f1) == list(HELEN.names)


# What does not fit together


def rename_nose(root: Path) -> None:
    path = root / "label_set.toml"
    path.write_text(path.read_text().replace('nose = "#', 'snout = "#').replace('"nose"', '"snout"'))


def test_classes_that_mean_something_else_are_refused(checkpoint: Checkpoint, own_faces: Path) -> None:
    rename_nose(own_faces)
    with pytest.raises(SettingsError) as caught:
        scored(checkpoint, data_dir=own_faces)
    assert str(caught.value).startswith("helen (11 classes): no known mapping to common classes; write one")
    assert str(caught.value).endswith("--mapping FILE")


def test_the_same_classes_in_another_order_are_matched_by_name(checkpoint: Checkpoint, own_faces: Path) -> None:
    plain = scored(checkpoint, data_dir=own_faces)
    names = [*(name for name in HELEN.names if name != "nose"), "nose"]
    table = np.array([names.index(name) for name in HELEN.names], np.uint8)
    for path in (own_faces / "labels").glob("*.png"):
        path.write_bytes(encode_png(table[read_label(path)]))
    classes = {name: HELEN.classes[name] for name in names}
    write_label_set(own_faces, HELEN.model_copy(update={"name": "other", "classes": classes}))
    found = scored(checkpoint, data_dir=own_faces)
    assert found.label_set.names == tuple(names)
    ours, theirs = plain.scores["eagrnet"], found.scores["eagrnet"]
    assert theirs.f1 == {name: ours.f1[name] for name in names}
    assert theirs.mean_f1 == pytest.approx(ours.mean_f1)
    assert found.notes == []


def test_labels_whose_left_is_on_the_other_side_are_scored_as_what_they_show(
    checkpoint: Checkpoint, own_faces: Path
) -> None:
    plain = scored(checkpoint, data_dir=own_faces)
    for path in (own_faces / "labels").glob("*.png"):
        path.write_bytes(encode_png(HELEN.mirror_table()[read_label(path)]))
    write_label_set(own_faces, HELEN.model_copy(update={"name": "turned", "side": "subject"}))
    found = scored(checkpoint, data_dir=own_faces)
    ours, theirs = plain.scores["eagrnet"], found.scores["eagrnet"]
    assert theirs.f1["left_eye"] == ours.f1["right_eye"]
    assert theirs.mean_f1 == pytest.approx(ours.mean_f1)
    with pytest.raises(CheckpointError, match=r"its left, the viewer's, is the subject's in .*; the ids mean other"):
        find_split(checkpoint, data_dir=own_faces)


def test_the_name_of_a_label_set_is_no_path(checkpoint: Checkpoint, own_faces: Path) -> None:
    fasseg = get_label_set("fasseg").model_copy(update={"name": "../../../fasseg"})
    (plan,) = plan_evaluations([checkpoint], data_dir=own_faces)
    named = dataclasses.replace(plan, truth=ClassMapping(HELEN, fasseg, known_groups(HELEN)))
    assert named.folder.name.endswith(".as-.._.._.._fasseg")
    assert ".." not in named.folder.parts


def known_groups(source: LabelSet) -> tuple[tuple[int, ...], ...]:
    mapping = known_mapping(source, get_label_set("fasseg"))
    assert mapping is not None
    return mapping.groups


def test_classes_of_another_set_are_scored_as_common_ones(checkpoint: Checkpoint, own_faces: Path) -> None:
    """Merged after parsing, the model's labels must be what an independent count of merged pixels gives."""
    parts = {"eyes": (4, 5), "mouth": (7, 8, 9), "nose": (6,), "hair": (10, 2, 3)}
    names = ["background", "hair", "skin", "eyes", "mouth", "nose"]
    table = np.zeros(256, np.uint8)
    table[1] = names.index("skin")
    for name, ids in parts.items():
        table[list(ids)] = names.index(name)
    files = listed(own_faces, "test")
    truths = [table[read_label(label)] for _, label in files]
    for (_, label), truth in zip(files, truths, strict=True):
        label.write_bytes(encode_png(truth))
    write_label_set(own_faces, get_label_set("fasseg"))
    found = scored(checkpoint, data_dir=own_faces, protocols=["label"])
    assert found.label_set == get_label_set("fasseg")
    parser = load_parser(checkpoint, CPU)
    photos = [prepare_photo(read_image(image), parser.input_size) for image, _ in files]
    likely = parser.logits(torch.from_numpy(np.stack([photo.crop for photo in photos]))).softmax(dim=1).numpy()
    merged = np.stack([likely[:, np.flatnonzero(table[:11] == i)].sum(axis=1) for i in range(6)], axis=1)
    ids = merged.argmax(axis=1).astype(np.uint8)
    predictions = [unwarp_label(one, photo.matrix, photo.size) for one, photo in zip(ids, photos, strict=True)]
    pairs = list(zip(truths, predictions, strict=True))
    for i, name in enumerate(names):
        assert found.scores["label"].f1[name] == pytest.approx(slow_f1(pairs, {i}), abs=1e-9)
    assert "upper_lip, inner_mouth, lower_lip in mouth" in found.notes[0]
    assert plan_evaluations([checkpoint], data_dir=own_faces)[0].name(["eagrnet"]) == f"{own_faces.name}.test.as-fasseg"


def test_models_of_different_sets_are_compared_in_common_classes(
    checkpoint: Checkpoint, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fasseg = get_label_set("fasseg")
    weights = build_model(checkpoint.settings.model, len(fasseg)).state_dict()
    file = tmp_path / "other.pth"
    file.write_bytes(b"weights")  # only its size and hash are looked at
    other = dataclasses.replace(checkpoint, path=file, label_set=fasseg, weights=weights)
    first, second = plan_evaluations([checkpoint, other], data_dir=faces)
    assert first.label_set == second.label_set == fasseg  # the labels are Helen's
    assert first.notes == first.truth.notes()
    assert second.model is other
    assert first.split is second.split  # so that labels are read for the fingerprint once
    measured = list[int]()

    def measure(samples: Any, label_set: LabelSet, **options: Any) -> Any:
        measured.append(len(samples))
        return photograph_groupings(samples, label_set, **options)

    for module in ("evaluation", "score_model"):
        monkeypatch.setattr(f"faceparse.core.scoring.{module}.photograph_groupings", measure)
    report = run_evaluations(
        [first, second], device=CPU, output=tmp_path / "out", batch_size=None, resamples=10, worst=0, warn=pytest.fail
    )
    assert measured == [len(first.split.samples)]
    groups = [list(one.summaries["eagrnet"].groups) for one in report.evaluations]
    assert groups[0] == groups[1] == list(scored(checkpoint, data_dir=faces).summaries["eagrnet"].groups)
    assert report.comparison is not None
    assert set(report.comparison.differences["eagrnet"][0]) >= {f"f1/{name}" for name in fasseg.names}
    mine = LabelSet(name="mine", side="none", classes={"background": "#000000", "beard": "#ffffff"})
    with pytest.raises(SettingsError, match=r"helen \(11 classes\) and mine \(2 classes\): no known mapping"):
        plan_evaluations([checkpoint, dataclasses.replace(other, label_set=mine)], data_dir=faces)


def test_a_file_says_the_common_classes(checkpoint: Checkpoint, own_faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "head.toml"
    skin = [name for name in HELEN.names if name not in ("background", "hair")]
    file.write_text(f'background = ["background"]\nhead = ["hair"]\nface = {skin}')
    found = scored(checkpoint, data_dir=own_faces, mapping=file)
    assert found.label_set.names == ("background", "head", "face")
    truths = [read_label(label) for _, label in listed(own_faces, "test")]
    counts = found.summaries["eagrnet"].counts.sum().confusion.sum(axis=1)
    there = [sum(int(np.isin(truth, ids).sum()) for truth in truths) for ids in ([0], [10], range(1, 10))]
    assert counts.tolist() == there
    file.write_text('background = ["background"]\nhead = ["hair"]\nignored = ["skin"]')
    with pytest.raises(SettingsError, match=r"head\.toml: class 'left_brow' of helen is in no list; add it"):
        scored(checkpoint, data_dir=own_faces, mapping=file)


def test_what_training_was_told_of_its_folder_holds_for_scoring_it(checkpoint: Checkpoint, own_faces: Path) -> None:
    label_set = get_label_set("helen")
    classes = {"snout" if name == "nose" else name: colour for name, colour in label_set.classes.items()}
    told = LabelSet(name="mine", side="viewer", classes=classes)
    for root, expected in ((own_faces, None), (Path("elsewhere"), "no known mapping to common classes")):
        data = checkpoint.settings.data.model_copy(update={"label_set": "mine.toml", "root": root})
        settings = checkpoint.settings.model_copy(update={"data": data})
        other = dataclasses.replace(checkpoint, settings=settings, label_set=told)
        if expected is None:
            assert "snout" in scored(other).scores["eagrnet"].f1
        else:
            with pytest.raises(SettingsError, match=expected):
                scored(other, data_dir=own_faces)


def test_a_released_checkpoint_takes_the_names_of_the_dataset(checkpoint: Checkpoint, own_faces: Path) -> None:
    rename_nose(own_faces)
    other = dataclasses.replace(checkpoint, origin="released")
    found = scored(other, data_dir=own_faces)
    assert "snout" in found.scores["eagrnet"].f1
    assert "nose" not in found.scores["eagrnet"].f1


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"num_classes": 19}, CheckpointError, r"has 11 classes \(helen\), --num-classes says 19; take another"),
        ({"dataset": "helem"}, SettingsError, r"label set 'helem' is not built in; did you mean 'helen'\?"),
        ({"split": "tests"}, SettingsError, r"--split 'tests': not one of train, val, test; did you mean 'test'\?"),
        (
            {"protocols": ["eagr"]},
            SettingsError,
            r"--protocol 'eagr': not one of eagrnet, label, farl, segface; did",
        ),
        ({"data_dir": Path("nowhere")}, DatasetError, r"nowhere: no such dataset folder; .*--data-dir"),
    ],
)
def test_what_does_not_fit_is_said(
    checkpoint: Checkpoint, options: dict[str, Any], kind: type[Exception], expected: str
) -> None:
    with pytest.raises(kind) as caught:
        scored(checkpoint, **options)
    assert re.search(expected, str(caught.value))
    assert "\n" not in str(caught.value)
