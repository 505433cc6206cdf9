"""A network starts from a checkpoint or from the weights of its backbone."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from faceparse.core.errors import CheckpointError, SettingsError
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.labels.mapping import mapping_from_dict
from faceparse.core.model.backbones import timm_backbone
from faceparse.core.model.build import build_model
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.parser.initialise import initialise, initialise_from_timm
from faceparse.core.parser.released_names import released_state
from faceparse.core.settings import ModelSettings
from tests.core.parser.small import SaveTensors, one_line, small


def test_a_network_starts_from_a_released_file_that_fits_it(save_tensors: SaveTensors) -> None:
    source, model = small(), small()
    path = save_tensors({f"module.{key}": tensor for key, tensor in released_state(source).items()})
    report = initialise(model, path, "resnet18")
    assert (report.kind, report.loaded, report.skipped) == ("released EAGRNet", len(source.state_dict()), ())
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in source.state_dict().items())


def test_a_network_starts_from_our_checkpoint(own: tuple[EAGRNet, Path]) -> None:
    model = small()
    report = initialise(model, own[1], "resnet18")
    assert str(report) == f"checkpoint: {len(own[0].state_dict())} tensors loaded"
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in own[0].state_dict().items())


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".torchscript", ".pt2"])
def test_an_exported_graph_is_nothing_to_start_from(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"whatever")
    with pytest.raises(CheckpointError) as caught:
        initialise(small(), path, "resnet18")
    assert str(caught.value) == (
        f"{path}: an exported graph, without weights of PyTorch to start from; give a checkpoint (best.pth), or a "
        "model that was exported as safetensors"
    )


def test_classes_of_another_set_come_by_name_and_merged_ones_by_the_mean(own: tuple[EAGRNet, Path]) -> None:
    model, (source, path) = small(classes=6), own
    fresh = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = initialise(model, path, "resnet18", get_label_set("fasseg"))
    theirs, ours = source.state_dict(), model.state_dict()
    rows = {"background": [0], "hair": [10, 2, 3], "skin": [1], "eyes": [4, 5], "mouth": [7, 8, 9], "nose": [6]}
    for key in ("decoder.classify.weight", "decoder.classify.bias"):
        for row, ids in zip(ours[key], rows.values(), strict=True):
            assert torch.allclose(row, torch.stack([theirs[key][i] for i in ids]).mean(dim=0))
        assert not torch.equal(ours[key], fresh[key])
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if "classify" not in key)
    assert report.loaded == len(theirs) - 2
    assert "known: background, skin, nose; mapped: hair from hair + left_brow + right_brow, eyes from" in str(report)


def test_new_classes_stay_at_random_and_left_of_the_subject_is_right_of_the_viewer(own: tuple[EAGRNet, Path]) -> None:
    classes = ("background", "left_eye", "right_eye", "beard")
    mine = LabelSet(
        name="mine",
        side="subject",
        classes={name: f"#00000{i}" for i, name in enumerate(classes)},
        mirror=(("left_eye", "right_eye"),),
    )
    model, (source, path) = small(classes=4), own
    beard = model.state_dict()["decoder.classify.weight"][3].clone()
    report = initialise(model, path, "resnet18", mine)
    theirs, ours = source.state_dict()["decoder.classify.weight"], model.state_dict()["decoder.classify.weight"]
    assert torch.equal(ours[:3], theirs[[0, 5, 4]])  # Helen's left is the viewer's
    assert torch.equal(ours[3], beard)
    assert str(report).endswith("classes of mine, known: background; mapped: left_eye from right_eye, right_eye from "
                                "left_eye; new: beard")  # fmt: skip


def test_the_same_names_with_left_on_the_other_side_change_places(own: tuple[EAGRNet, Path]) -> None:
    helen = get_label_set("helen")
    model, (source, path) = small(), own
    report = initialise(model, path, "resnet18", helen.model_copy(update={"name": "mine", "side": "subject"}))
    theirs, ours = source.state_dict()["decoder.classify.bias"], model.state_dict()["decoder.classify.bias"]
    assert torch.equal(ours, theirs[helen.mirror_table()[: len(helen)].tolist()])
    assert not torch.equal(ours, theirs)
    assert "left_eye from right_eye" in str(report)


def test_as_many_classes_of_other_names_are_not_taken_for_the_same(own: tuple[EAGRNet, Path]) -> None:
    helen = get_label_set("helen")
    names = [*helen.names[:-2], "hair", "lower_lip"]
    swapped = helen.model_copy(update={"name": "mine", "classes": {name: helen.classes[name] for name in names}})
    model, (source, path) = small(), own
    initialise(model, path, "resnet18", swapped)
    theirs, ours = source.state_dict()["decoder.classify.bias"], model.state_dict()["decoder.classify.bias"]
    assert torch.equal(ours, theirs[[*range(9), 10, 9]])


def test_a_file_maps_the_classes(own: tuple[EAGRNet, Path]) -> None:
    mine = LabelSet(name="mine", side="none", classes={"background": "#000000", "face": "#ffffff"})
    file = mapping_from_dict({"background": ["background"], "face": ["skin", "nose"]}, "map.toml", "map")
    model, (source, path) = small(classes=2), own
    report = initialise(model, path, "resnet18", mine, file)
    theirs, ours = source.state_dict()["decoder.classify.bias"], model.state_dict()["decoder.classify.bias"]
    assert torch.allclose(ours, torch.stack([theirs[0], (theirs[1] + theirs[6]) / 2]))
    assert "mapped: face from skin + nose" in str(report)
    with pytest.raises(SettingsError, match=r"map\.toml: 'head' is no class of mine"):
        initialise(model, path, "resnet18", mine, mapping_from_dict({"head": ["skin"]}, "map.toml", "map"))


def test_a_mapping_of_weights_without_classes_is_refused(save_tensors: SaveTensors) -> None:
    path = save_tensors(backbone_state(small()))
    file = mapping_from_dict({"background": ["background"]}, "map.toml", "map")
    with pytest.raises(SettingsError, match=r"model\.mapping: .* has no classes to map"):
        initialise(small(), path, "resnet18", get_label_set("helen"), file)


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
        patch.setattr("faceparse.core.parser.initialise.timm_backbone", lambda *_, **__: timm_backbone(name))
        with pytest.raises(CheckpointError) as caught:
            initialise_from_timm(model, name)
    assert str(caught.value) == f"timm has no weights of {name}; give a weights file, or model.pretrained = none"


def test_gammas_are_taken_as_they_are(save_tensors: SaveTensors) -> None:
    state = backbone_state(small())
    state["bn1.weight"] = torch.linspace(-1, 1, 64)
    model = small()
    initialise(model, save_tensors(state), "resnet18")
    assert torch.equal(model.backbone.state_dict()["stem.0.norm.weight"], state["bn1.weight"])


def test_backbone_weights_that_are_integers_do_not_fit(save_tensors: SaveTensors) -> None:
    state = {key: tensor.to(torch.int32) for key, tensor in backbone_state(small(stem="deep")).items()}
    with pytest.raises(CheckpointError, match="of another ResNet than model.backbone"):
        initialise(small(stem="deep"), save_tensors(state), "resnet18")
