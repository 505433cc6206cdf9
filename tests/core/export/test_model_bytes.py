"""A model that goes to another process as bytes is the same one there."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from faceparse.core.errors import CheckpointError
from faceparse.core.export.model_bytes import ModelBytes, model_bytes
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.parser.mapped import in_classes
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.training.run import RunResult


def answers(model: TrainedModel) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *model.settings.data.input_size, 3), dtype=np.uint8)
    return load_parser(model, torch.device("cpu")).logits(torch.from_numpy(pixels)).numpy()


@pytest.mark.parametrize("label_set", [None, "lapa"])
@pytest.mark.parametrize("kind", ["weights", "checkpoint", "onnx"])
def test_it_answers_the_same_from_nothing_but_its_bytes(
    kind: str, label_set: str | None, light: Path, trained: RunResult, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if label_set and kind != "weights":
        pytest.skip("the classes of one are enough")
    source = {"weights": light, "checkpoint": trained.best, "onnx": bundle}[kind]
    model = in_classes(load_model_from(source), label_set, None)
    sent: ModelBytes = pickle.loads(pickle.dumps(model_bytes(model)))
    with sent.opened() as copy:
        assert copy.path != model.path
        assert copy.path.name == model.path.name
        assert (copy.label_set, copy.part_classes) == (model.label_set, model.part_classes)
        assert np.array_equal(answers(copy), answers(model))
    assert not copy.path.exists()


def test_what_could_run_code_is_trusted_only_where_the_user_does(tmp_path: Path) -> None:
    copy = ModelBytes({"best.torchscript": b"x"}, "best.torchscript", None, trust=False, mapping=None)
    with pytest.raises(CheckpointError, match=r"can run any code when it is loaded"), copy.opened():
        pass
