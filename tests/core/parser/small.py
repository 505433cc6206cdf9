"""A small network, its settings and its checkpoint's content."""

from collections.abc import Callable
from pathlib import Path

import torch

from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.parser.checkpoint_format import pack
from faceparse.core.settings import ModelSettings, Settings, load_settings

CPU = torch.device("cpu")
SaveTensors = Callable[..., Path]


def small(classes: int = 11, **changes: str) -> EAGRNet:
    settings = {"backbone": "resnet18", "stem": "torchvision", **changes}
    return build_model(ModelSettings.model_validate(settings), classes)


def small_settings() -> Settings:
    return load_settings(
        options={"model.backbone": "resnet18", "model.stem": "torchvision", "data.mean": "0.5,0.4,0.3"}
    )


def packed(model: EAGRNet, label_set: str = "helen") -> dict[str, object]:
    return pack(
        model,
        settings=small_settings(),
        label_set=get_label_set(label_set),
        epoch=3,
        scores={"f1_mean": 0.25},
        run_id="abc",
        tracking_uri="sqlite:////tmp/x.db",
    )


def one_line(error: BaseException, path: Path) -> str:
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 220
    return message
