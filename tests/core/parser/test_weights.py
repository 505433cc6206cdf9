import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from faceparse.core.errors import CheckpointError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.abn import ActivatedBatchNorm, inplace_abn_problem
from faceparse.core.model.backbones import timm_backbone
from faceparse.core.model.build import build_model
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.parser.weights import (
    Checkpoint,
    initialise,
    initialise_from_timm,
    label_set_of_size,
    load_exactly,
    load_model,
    read_checkpoint,
    released_state,
)
from faceparse.core.settings import ModelSettings, Settings, load_settings
from faceparse.core.training.checkpoint import pack, save
from faceparse.core.training.run import RunResult

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


# Released checkpoints


def test_every_tensor_of_a_released_file_arrives_and_goes_back(released_file: Path, rebuilt: dict[str, Tensor]) -> None:
    checkpoint = read_checkpoint(released_file)
    assert (checkpoint.origin, len(checkpoint.weights)) == ("released", 740)
    assert checkpoint.label_set == get_label_set("helen")
    assert checkpoint.settings.data.channel_order == "bgr"
    assert checkpoint.settings.data.mean == (0.485, 0.456, 0.406)
    assert (checkpoint.settings.model.backbone, checkpoint.settings.model.stem) == ("resnet101", "deep")
    state = released_state(load_model(checkpoint, CPU))
    assert list(state) == list(rebuilt)
    assert all(torch.equal(state[key], tensor) for key, tensor in rebuilt.items())


@pytest.fixture
def stub(rebuilt: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released file's keys, with hardly any numbers: enough to be read, not to be loaded."""
    return {key: tensor.flatten()[:1].clone() for key, tensor in rebuilt.items()} | {
        "layer6.conv4.weight": torch.zeros(11, 256, 1, 1)
    }


@pytest.mark.parametrize("wrap", [False, True])
def test_the_prefix_of_data_parallel_is_dropped(stub: dict[str, Tensor], save_tensors: SaveTensors, wrap: bool) -> None:
    expected = read_checkpoint(save_tensors(stub)).weights
    state: dict[str, object] = {f"module.{key}": tensor for key, tensor in stub.items()}
    found = read_checkpoint(save_tensors({"epoch": 3, "state_dict": state} if wrap else state)).weights
    assert list(found) == list(expected)
    assert len(found) == 740
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_file_in_the_format_before_torch_1_6_is_read(stub: dict[str, Tensor], save_tensors: SaveTensors) -> None:
    expected = read_checkpoint(save_tensors(stub)).weights
    found = read_checkpoint(save_tensors(stub, _use_new_zipfile_serialization=False)).weights
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize(("classes", "name"), [(11, "helen"), (19, "celebamask-hq"), (7, "7-classes")])
def test_the_class_count_chooses_the_label_set(
    stub: dict[str, Tensor], save_tensors: SaveTensors, classes: int, name: str
) -> None:
    stub["layer6.conv4.weight"] = torch.zeros(classes, 256, 1, 1)
    checkpoint = read_checkpoint(save_tensors(stub))
    assert checkpoint.label_set.name == name
    assert len(checkpoint.label_set) == checkpoint.settings.data.num_classes == classes
    assert checkpoint.settings.data.channel_order == "bgr"


def test_unknown_class_counts_get_numbered_names_and_different_colours() -> None:
    label_set = label_set_of_size(255)
    assert label_set.names[:3] == ("background", "class_1", "class_2")
    assert len({tuple(colour) for colour in label_set.palette().tolist()}) == 255


def test_a_missing_key_is_named_as_the_file_names_it(stub: dict[str, Tensor], save_tensors: SaveTensors) -> None:
    del stub["layer3.22.bn2.running_var"], stub["edge_layer.conv4.bias"]
    checkpoint = read_checkpoint(save_tensors(stub))
    with pytest.raises(CheckpointError) as caught:
        load_model(checkpoint, CPU)
    message = one_line(caught.value, checkpoint.path)
    assert message.endswith("is missing (and 1 more); the file is of another network")
    assert "'layer3.22.bn2.running_var'" in message


def test_an_unknown_key_is_named_as_the_file_names_it(stub: dict[str, Tensor], save_tensors: SaveTensors) -> None:
    path = save_tensors({**stub, "layer7.conv1.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r": unknown key 'layer7\.conv1\.weight'; the file is of another network"):
        read_checkpoint(path)
    checkpoint = read_checkpoint(save_tensors({**stub, "conv1.bias": torch.zeros(1)}))
    with pytest.raises(CheckpointError) as caught:
        load_model(checkpoint, CPU)
    assert "unknown key 'conv1.bias'" in one_line(caught.value, checkpoint.path)


def test_a_key_of_another_shape_is_named_as_the_file_names_it(save_tensors: SaveTensors) -> None:
    model = small()
    state = released_state(model)
    state["layer5.bottleneck.0.weight"] = torch.zeros(512, 1024, 1, 1)
    path = save_tensors(state)
    with pytest.raises(CheckpointError) as caught:
        initialise(model, path, "resnet18")
    message = one_line(caught.value, path)
    assert "key 'layer5.bottleneck.0.weight' has shape (512, 1024, 1, 1), the network (512, 1024, 3, 3)" in message
    assert "model.backbone" in message


def test_a_network_starts_from_a_released_file_that_fits_it(save_tensors: SaveTensors) -> None:
    source, model = small(), small()
    path = save_tensors({f"module.{key}": tensor for key, tensor in released_state(source).items()})
    report = initialise(model, path, "resnet18")
    assert (report.kind, report.loaded, report.skipped) == ("released EAGRNet", len(source.state_dict()), ())
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in source.state_dict().items())


# Our own checkpoints


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[EAGRNet, Path]:
    """A network and its checkpoint. Not to be written to."""
    path = tmp_path_factory.mktemp("own") / "best.pth"
    model = small(norm="torch").eval()
    save(path, packed(model))
    return model, path


def test_our_checkpoint_holds_all_that_using_it_takes(own: tuple[EAGRNet, Path]) -> None:
    model, path = own
    checkpoint = read_checkpoint(path)
    assert checkpoint.settings == small_settings()
    assert checkpoint.label_set == get_label_set("helen")
    found = (checkpoint.origin, checkpoint.epoch, checkpoint.run_id, checkpoint.tracking_uri, checkpoint.scores)
    assert found == ("faceparse", 3, "abc", "sqlite:////tmp/x.db", {"f1_mean": 0.25})
    image = torch.randn(2, 3, 33, 40)
    with torch.inference_mode():
        for ours, theirs in zip(load_model(checkpoint, CPU)(image), model(image), strict=True):
            assert torch.equal(ours, theirs)


def test_our_checkpoint_is_tensors_and_plain_containers(own: tuple[EAGRNet, Path]) -> None:
    content = torch.load(own[1], weights_only=True)  # as anyone may read it, without faceparse
    assert sorted(content) == sorted(
        ["format", "version", "settings", "label_set", "model", "epoch", "scores", "geometry", "run_id", "tracking_uri"]
    )


@pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
def test_the_stored_norm_does_not_bind_the_reader(save_tensors: SaveTensors) -> None:
    model = small(norm="inplace_abn").eval()
    content = packed(model)
    content["settings"]["model"]["norm"] = "inplace_abn"  # type: ignore[index]
    checkpoint = read_checkpoint(save_tensors(content))
    assert checkpoint.settings.model.norm == "inplace_abn"
    image = torch.randn(1, 3, 33, 40)
    loaded = load_model(checkpoint, CPU)
    assert isinstance(loaded.decoder.deep.norm, ActivatedBatchNorm)
    torch.testing.assert_close(loaded(image).parsing, model(image).parsing, rtol=1e-4, atol=1e-5)


def test_a_network_starts_from_our_checkpoint(own: tuple[EAGRNet, Path]) -> None:
    model = small()
    report = initialise(model, own[1], "resnet18")
    assert str(report) == f"checkpoint: {len(own[0].state_dict())} tensors loaded"
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in own[0].state_dict().items())


def test_weights_of_other_classes_are_refused_with_what_is_possible(own: tuple[EAGRNet, Path]) -> None:
    with pytest.raises(CheckpointError) as caught:
        initialise(small(classes=6), own[1], "resnet18")
    message = one_line(caught.value, own[1])
    assert "has 11 classes, the dataset 6; training starts from weights of the same classes" in message
    assert message.endswith("--restore-from imagenet")


def test_a_refused_file_leaves_the_network_as_it_was(own: tuple[EAGRNet, Path]) -> None:
    model = small(classes=6)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_exactly(model, read_checkpoint(own[1]).weights, own[1])
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_our_keys_are_named_as_our_file_names_them(save_tensors: SaveTensors) -> None:
    content = packed(small())
    del content["model"]["pyramid.fuse.conv.weight"]  # type: ignore[attr-defined]
    path = save_tensors(content)
    with pytest.raises(CheckpointError, match=r"key 'pyramid\.fuse\.conv\.weight' is missing; "):
        initialise(small(), path, "resnet18")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 2}, "checkpoint version 2, this faceparse reads version 1"),
        ({"settings": {"model": {"backbon": "resnet18"}}}, "unknown setting 'model.backbon'"),
        ({"label_set": {"name": "x", "side": "none", "classes": {"a": "#000000"}}}, "has 2 to 255 classes"),
    ],
)
def test_a_checkpoint_of_another_make_says_what_is_wrong(
    save_tensors: SaveTensors, change: dict[str, object], expected: str
) -> None:
    path = save_tensors({**packed(small()), "model": {}, **change})
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert expected in one_line(caught.value, path)


def test_a_checkpoint_without_one_of_its_parts_is_called_damaged(save_tensors: SaveTensors) -> None:
    content = {**packed(small()), "model": {}}
    del content["scores"]
    with pytest.raises(CheckpointError, match=r": damaged checkpoint, 'scores' is missing; copy it again$"):
        read_checkpoint(save_tensors(content))


# Files that are none


class RunsCode:
    """What unpickles as a shell command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, (f"touch {self.marker}",)


REFUSED = "refused, the file holds code or objects beside tensors; save a plain state_dict instead"


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_weights_file_is_refused_and_not_run(tmp_path: Path, save_tensors: SaveTensors, zipped: bool) -> None:
    marker = tmp_path / "marker"
    content = {"layer6.conv4.weight": torch.zeros(11, 1), "x": RunsCode(marker)}
    path = save_tensors(content, _use_new_zipfile_serialization=zipped)
    for read in (read_checkpoint, lambda path: initialise(small(), path, "resnet18")):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert one_line(caught.value, path) == f"{path}: {REFUSED}"
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the trap is a real one
    assert marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_plain_pickle_is_not_run(tmp_path: Path, protocol: int, recwarn: pytest.WarningsRecorder) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    path.write_bytes(pickle.dumps(RunsCode(marker), protocol))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    one_line(caught.value, path)
    assert not marker.exists()
    assert not recwarn.list
    pickle.loads(path.read_bytes())
    assert marker.exists()


def test_a_pickled_model_is_refused(save_tensors: SaveTensors) -> None:
    path = save_tensors(nn.Linear(2, 2))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert one_line(caught.value, path) == f"{path}: {REFUSED}"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999, 1])
def test_a_truncated_file_is_called_so(save_tensors: SaveTensors, zipped: bool, share: float) -> None:
    tensors = {f"layer{i}.weight": torch.randn(10, 10) for i in range(20)}
    path = save_tensors(tensors, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = one_line(caught.value, path)
    assert "damaged" in message
    assert message.endswith("copy or download it again")


def test_no_length_of_a_truncated_header_escapes(save_tensors: SaveTensors) -> None:
    path = save_tensors({"a": torch.zeros(3)}, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        one_line(caught.value, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"hello\n",
        b"<!DOCTYPE html><title>404</title>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" * 50,
    ],
    ids=["empty", "json", "text", "html", "png", "zip"],
)
def test_a_file_of_another_kind_is_not_called_dangerous(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = one_line(caught.value, path)
    assert "refused" not in message
    assert message.endswith("copy or download it again")


def test_a_folder_or_nothing_at_all_is_no_checkpoint(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path, f"is a folder; give a checkpoint in it, such as {tmp_path / 'best.pth'}"),
        (tmp_path / "nothing.pth", "no such checkpoint file"),
    ):
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert str(caught.value) == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "holds a list, not a state_dict"),
        (torch.zeros(2), "holds a Tensor, not a state_dict"),
        ({}, "not a state_dict of tensors; save model.state_dict() itself"),
        ({0: torch.zeros(2)}, "not a state_dict of tensors; save model.state_dict() itself"),
        ({"a": torch.zeros(2), "epoch": 3}, "not a state_dict of tensors; save model.state_dict() itself"),
        (
            {"a": torch.zeros(2)},
            "not a face-parsing checkpoint (no key 'layer6.conv4.weight'); give best.pth or last.pth",
        ),
    ],
    ids=["list", "tensor", "empty", "numbered", "mixed", "other"],
)
def test_weights_of_something_else_are_refused(save_tensors: SaveTensors, content: object, expected: str) -> None:
    path = save_tensors(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert one_line(caught.value, path) == f"{path}: {expected}"


# Backbones


def backbone_state(model: EAGRNet) -> dict[str, Tensor]:
    """As ImageNet weights come: the backbone under the released names, and a classifier."""
    heads = ("layer5.", "layer6.", "edge_layer.", "block1.", "block2.")
    state = {key: tensor for key, tensor in released_state(model).items() if not key.startswith(heads)}
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_a_deep_stem_backbone_fills_a_deep_stem_network(save_tensors: SaveTensors) -> None:
    source, model = small(stem="deep"), small(stem="deep")
    heads = {key: tensor.clone() for key, tensor in model.state_dict().items() if not key.startswith("backbone.")}
    report = initialise(model, save_tensors(backbone_state(source)), "resnet18")
    expected = source.backbone.state_dict()
    assert str(report) == (
        f"ResNet backbone with a deep 3x3 stem: {len(expected)} tensors loaded, "
        "2 of the file not used (fc.weight, fc.bias)"
    )
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.backbone.state_dict().items())
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in heads.items())


def test_what_torchvisions_backbone_cannot_fill_in_a_deep_stem_network_is_reported(save_tensors: SaveTensors) -> None:
    torch.manual_seed(1)
    weights = {key: tensor.double().float() for key, tensor in models.resnet18().state_dict().items()}
    model = small(stem="deep")
    before = {key: tensor.clone() for key, tensor in model.backbone.state_dict().items()}
    report = initialise(model, save_tensors(weights), "resnet18")
    assert str(report).startswith("ResNet backbone with a 7x7 stem: ")
    # The whole stem (its first norm would fit, but belongs to another convolution), and what the first block does with
    # 128 channels where theirs has 64.
    theirs = {
        *(f"stem.{i}.conv.weight" for i in (0, 1, 2)),
        *(f"stem.{i}.norm.{leaf}" for i in (0, 1, 2) for leaf in ("weight", "bias", "running_mean", "running_var")),
        "stages.0.0.body.0.conv.weight",
        "stages.0.0.shortcut.conv.weight",
        *(f"stages.0.0.shortcut.norm.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")),
    }
    assert set(report.skipped) == theirs
    assert f"{len(theirs)} left at random (stem.0.conv.weight, " in str(report)
    assert set(report.unused) == {
        *(f"bn1.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")),
        *("conv1.weight", "layer1.0.conv1.weight", "fc.weight", "fc.bias"),
    }
    after = model.backbone.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in theirs)
    assert torch.equal(after["stages.3.1.body.1.conv.weight"], weights["layer4.1.conv2.weight"])
    assert torch.equal(after["stages.1.0.shortcut.norm.running_var"], weights["layer2.0.downsample.1.running_var"])


def test_a_backbone_of_another_depth_is_refused(save_tensors: SaveTensors) -> None:
    path = save_tensors(backbone_state(small(backbone="resnet34")))
    model = small()
    assert initialise(small(backbone="resnet34"), path, "resnet34").skipped == ()
    path = save_tensors(backbone_state(model))
    with pytest.raises(CheckpointError) as caught:
        initialise(small(backbone="resnet34"), path, "resnet34")
    message = one_line(caught.value, path)
    assert "of another ResNet than model.backbone" in message
    assert "'stages.0.2.body.0.conv.weight'" in message


def test_a_deeper_backbone_is_refused_too(save_tensors: SaveTensors) -> None:
    """All that a shallower network asks for is in it, as a part of longer stages."""
    path = save_tensors(backbone_state(small(backbone="resnet34")))
    with pytest.raises(CheckpointError) as caught:
        initialise(small(), path, "resnet18")
    message = one_line(caught.value, path)
    assert "of another ResNet than model.backbone" in message
    assert "'stages.0.2.body.0.conv.weight'" in message


def test_the_recipes_own_backbone_fills_the_default_network(
    rebuilt: dict[str, Tensor], save_tensors: SaveTensors
) -> None:
    modules = ("conv1.", "conv2.", "conv3.", "bn1.", "bn2.", "bn3.", "layer1.", "layer2.", "layer3.", "layer4.")
    state = {key: tensor for key, tensor in rebuilt.items() if key.startswith(modules)}
    path = save_tensors({**state, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)})
    model = build_model(ModelSettings(), 11)
    report = initialise(model, path, "resnet101")
    assert (report.loaded, report.skipped, report.unused) == (len(state), (), ("fc.weight", "fc.bias"))
    assert torch.equal(model.backbone.state_dict()["stages.2.22.body.2.conv.weight"], state["layer3.22.conv3.weight"])


def test_old_backbones_without_batch_counts_lack_nothing(save_tensors: SaveTensors) -> None:
    state = {key: tensor for key, tensor in backbone_state(small()).items() if not key.endswith("num_batches_tracked")}
    assert initialise(small(), save_tensors(state), "resnet18").skipped == ()


def test_an_unrelated_network_is_no_backbone(save_tensors: SaveTensors) -> None:
    path = save_tensors({"features.0.weight": torch.zeros(8, 3, 3, 3), "features.0.bias": torch.zeros(8)})
    with pytest.raises(CheckpointError) as caught:
        initialise(small(), path, "resnet18")
    expected = f"{path}: none of its 2 keys belongs to a ResNet backbone or an EAGRNet"
    assert one_line(caught.value, path) == expected


def trained_elsewhere(network: nn.Module) -> dict[str, Tensor]:
    """The network's state with statistics that a fresh one does not have."""
    state = network.state_dict()
    for key, tensor in state.items():
        if key.endswith(("running_mean", "running_var")):
            tensor.uniform_(0.5, 1.5)
    return state


def test_torchvisions_mobilenet_fills_the_backbone(save_tensors: SaveTensors) -> None:
    source = models.mobilenet_v2()
    path = save_tensors(trained_elsewhere(source))
    model = build_model(ModelSettings(backbone="mobilenet_v2"), 5).eval()
    heads = {key: tensor.clone() for key, tensor in model.state_dict().items() if not key.startswith("backbone.")}
    report = initialise(model, path, "mobilenet_v2")
    assert str(report) == (
        f"MobileNetV2: {len(model.backbone.state_dict())} tensors loaded, 7 of the file not used "
        "(features.18.0.weight, features.18.1.weight, features.18.1.bias, features.18.1.running_mean, ...)"
    )
    image = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(model.backbone(image)[3], source.eval().features[:18](image))
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in heads.items())


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "timm:mobilenetv3_small_050"])
def test_a_backbone_from_elsewhere_refuses_the_file_of_another(save_tensors: SaveTensors, backbone: str) -> None:
    """Also where timm itself would take it, and leave everything at random."""
    path = save_tensors(timm.create_model("convnext_atto").state_dict())
    model = build_model(ModelSettings(backbone=backbone), 5)
    with pytest.raises(CheckpointError) as caught:
        initialise(model, path, backbone)
    message = one_line(caught.value, path)
    assert message.startswith(f"{path}: of another network than model.backbone, ")
    assert message.endswith(" are not in it; change model.backbone or the file")


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "pvt_v2_b0"])
def test_a_whole_network_of_timm_fills_its_feature_network(save_tensors: SaveTensors, name: str) -> None:
    source = timm.create_model(name)
    path = save_tensors(trained_elsewhere(source))
    model = build_model(ModelSettings(backbone=f"timm:{name}"), 5)
    report = initialise(model, path, f"timm:{name}")
    assert str(report) == f"timm:{name}: {len(model.backbone.state_dict())} tensors loaded"
    image = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        found = model.eval().backbone(image)[3]
        _, expected = source.eval().forward_intermediates(image, indices=1)
    torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-4)


def test_a_file_that_timm_cannot_read_into_the_network_is_one_line(save_tensors: SaveTensors) -> None:
    path = save_tensors(timm.create_model("mobilenetv3_small_050").state_dict())
    model = build_model(ModelSettings(backbone="timm:resnet18"), 5)
    with pytest.raises(CheckpointError) as caught:
        initialise(model, path, "timm:resnet18")
    message = one_line(caught.value, path)
    assert message.endswith("; give a weights file of that network, or model.pretrained = none")


def test_a_network_without_weights_at_timm_is_not_left_at_random() -> None:
    name = "timm:resnet10t"
    model = build_model(ModelSettings(backbone=name), 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faceparse.core.parser.weights.timm_backbone", lambda *_, **__: timm_backbone(name))
        with pytest.raises(CheckpointError) as caught:
            initialise_from_timm(model, name)
    assert str(caught.value) == f"timm has no weights of {name}; give a weights file, or model.pretrained = none"


def test_gammas_are_taken_as_they_are(save_tensors: SaveTensors) -> None:
    state = backbone_state(small())
    state["bn1.weight"] = torch.linspace(-1, 1, 64)
    model = small()
    initialise(model, save_tensors(state), "resnet18")
    assert torch.equal(model.backbone.state_dict()["stem.0.norm.weight"], state["bn1.weight"])


def test_a_checkpoint_in_memory_needs_no_file() -> None:
    model = small().eval()
    checkpoint = Checkpoint(
        path=Path("memory"), settings=small_settings(), label_set=get_label_set("helen"), weights=model.state_dict()
    )
    image = torch.randn(1, 3, 33, 33)
    assert torch.equal(load_model(checkpoint, CPU)(image).edge, model(image).edge)


def test_a_checkpoint_knows_where_faces_lie_in_its_training_pictures(trained: RunResult, tmp_path: Path) -> None:
    geometry = read_checkpoint(trained.best).geometry
    assert geometry is not None
    assert geometry.count == 12
    (left, _), (right, _), *_ = geometry.centres
    assert 0.2 < left < 0.5 < right < 0.8
    content = torch.load(trained.best, weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "geometry"}, tmp_path / "old.pth")
    assert read_checkpoint(tmp_path / "old.pth").geometry is None
    torch.save(content | {"geometry": {"centres": "here"}}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad.pth: damaged checkpoint, geometry: .*; copy it again"):
        read_checkpoint(tmp_path / "bad.pth")


def test_weights_that_are_no_numbers_are_refused(save_tensors: SaveTensors) -> None:
    content = packed(small())
    next(iter(content["model"].values())).fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"key '.*' holds what is no number; take another checkpoint$"):
        read_checkpoint(save_tensors(content))
