"""A checkpoint over a split: what it knows itself, what is given, and whose classes are scored."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from faceparse.core.datasets.layout import DatasetFolder, write_label_set
from faceparse.core.errors import CheckpointError
from faceparse.core.evaluation import score_checkpoint as module
from faceparse.core.evaluation.evaluate import evaluate
from faceparse.core.evaluation.score_checkpoint import Evaluation, score_checkpoint
from faceparse.core.evaluation.scores import compute_scores
from faceparse.core.inference import load_parser
from faceparse.core.labels import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.model.weights import Checkpoint
from faceparse.core.settings import Settings

CPU = torch.device("cpu")
HELEN = get_label_set("helen")


@pytest.fixture(autouse=True)
def _in_one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two small photographs repay neither a process nor a thread; on a busy machine threads wait for each other."""
    monkeypatch.setattr(module, "default_processes", lambda: 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def checkpoint(tiny: Callable[..., Settings]) -> Checkpoint:
    """An untrained network: its scores are poor, and the same every time."""
    torch.manual_seed(0)
    settings = tiny()
    return Checkpoint(
        path=Path("best.pth"),
        settings=settings,
        label_set=HELEN,
        weights=build_model(settings.model, len(HELEN)).state_dict(),
    )


def test_a_checkpoint_knows_all_that_is_needed(checkpoint: Checkpoint, faces: Path) -> None:
    result = score_checkpoint(checkpoint, device=CPU)
    confusion = evaluate(load_parser(checkpoint, CPU), DatasetFolder(faces).samples("test"), 11)
    assert result == Evaluation(
        Path("best.pth"), faces, "test", "eagrnet", (64, 64), 2, compute_scores(confusion, HELEN)
    )
    assert confusion.sum() == 2 * 72 * 72


def test_what_is_given_is_taken(checkpoint: Checkpoint, own_faces: Path) -> None:
    parser = load_parser(checkpoint, CPU, (96, 64))
    assert parser.input_size == (96, 64)
    result = score_checkpoint(
        checkpoint, device=CPU, data_dir=own_faces, split="val", protocol="label", input_size=(96, 64), batch_size=1
    )
    confusion = evaluate(parser, DatasetFolder(own_faces).samples("val"), 11, protocol="label")
    assert (result.dataset, result.split, result.protocol, result.images) == (own_faces, "val", "label", 2)
    assert result.scores == compute_scores(confusion, HELEN)


def test_merged_scores_are_those_of_the_datasets_own_set(checkpoint: Checkpoint, own_faces: Path) -> None:
    assert set(score_checkpoint(checkpoint, device=CPU).scores.merged_f1) == set(HELEN.merged)
    write_label_set(own_faces, get_label_set("lapa"))  # the same classes, other merged scores
    assert score_checkpoint(checkpoint, device=CPU, data_dir=own_faces).scores.merged_f1 == {}
    named = score_checkpoint(checkpoint, device=CPU, data_dir=own_faces, dataset="helen")
    assert set(named.scores.merged_f1) == set(HELEN.merged)


def test_a_folder_that_does_not_say_its_classes_has_the_checkpoints(checkpoint: Checkpoint, own_faces: Path) -> None:
    for name in ("label_set.toml", "label_names.txt"):
        (own_faces / name).unlink()
    result = score_checkpoint(checkpoint, device=CPU, data_dir=own_faces)
    assert list(result.scores.f1) == list(HELEN.names)


def test_as_many_classes_in_another_order_are_refused(checkpoint: Checkpoint, own_faces: Path) -> None:
    names = [*(name for name in HELEN.classes if name != "nose"), "nose"]
    classes = {name: HELEN.classes[name] for name in names}
    write_label_set(own_faces, HELEN.model_copy(update={"name": "other", "classes": classes}))
    with pytest.raises(CheckpointError, match=r"^best\.pth: its class 'nose' is 'upper_lip' in .* \(other\); "):
        score_checkpoint(checkpoint, device=CPU, data_dir=own_faces)
