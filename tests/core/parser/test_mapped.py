"""A model that answers in the classes of another label set."""

from pathlib import Path

import pytest
import torch

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.labels.mapping import identity, known_mapping, map_classes, mapping_from_dict
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.mapped import MappedModel, in_classes, map_logits, map_model
from faceparse.core.parser.trained import PictureNetwork
from tests.core.parser.small import CPU, EAGRNet

HELEN, FASSEG = get_label_set("helen"), get_label_set("fasseg")


def test_probabilities_of_merged_classes_are_added() -> None:
    mapping = known_mapping(HELEN, FASSEG)
    assert mapping is not None
    logits = 3 * torch.randn(2, 11, 5, 7)
    likely = logits.softmax(dim=1)
    expected = torch.stack([likely[:, list(ids)].sum(dim=1) for ids in mapping.groups], dim=1)
    assert torch.allclose(map_logits(logits, mapping).softmax(dim=1), expected, atol=1e-6)


def test_a_class_that_the_model_does_not_know_is_never_the_answer() -> None:
    celeba = get_label_set("celebamask-hq")
    mapping = known_mapping(HELEN, celeba)
    assert mapping is not None
    mapped = map_logits(torch.zeros(1, 11, 3, 3), mapping)
    assert mapped.softmax(dim=1)[:, celeba.ids(mapping.absent)].max() < 1e-8
    assert torch.isfinite(mapped).all()


def test_a_mapped_model_has_the_new_classes_and_finds_faces_in_its_own(own: tuple[EAGRNet, Path]) -> None:
    model = read_checkpoint(own[1])
    mapped = in_classes(model, "fasseg", None)
    assert isinstance(mapped, MappedModel)
    assert (mapped.label_set, mapped.part_classes) == (FASSEG, HELEN)
    assert (mapped.path, mapped.run_id, mapped.epoch, mapped.licence) == (
        model.path, model.run_id, model.epoch, model.licence,
    )  # fmt: skip
    size = (64, 64)
    crops = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    network, plain = mapped.network(CPU, size), model.network(CPU, size)
    assert network.input_size == size
    with torch.inference_mode():
        assert torch.equal(network(crops), map_logits(plain(crops), mapped.mapping))
        assert isinstance(network, PictureNetwork)
        assert torch.equal(network.coarse(crops), plain.coarse(crops))
    assert any("in hair" in note for note in mapped.notes)


def test_what_changes_nothing_is_the_model_itself(own: tuple[EAGRNet, Path]) -> None:
    model = read_checkpoint(own[1])
    assert in_classes(model, None, None) is model
    assert map_model(model, identity(HELEN)) is model


def test_ignored_classes_and_unknown_mappings_are_refused(own: tuple[EAGRNet, Path], tmp_path: Path) -> None:
    model = read_checkpoint(own[1])
    rest = [name for name in HELEN.names if name != "hair"]
    mapping = map_classes(mapping_from_dict({"a": rest[:1], "b": rest[1:], "ignored": ["hair"]}, "m.toml", "m"), HELEN)
    with pytest.raises(SettingsError, match="its class 'hair' is ignored by the mapping, but a prediction"):
        map_model(model, mapping)
    own_set = tmp_path / "mine.toml"
    own_set.write_text('name = "mine"\nside = "none"\n[classes]\nbackground = "#000000"\nhead = "#ffffff"\n')
    with pytest.raises(SettingsError, match=r"no known mapping from the classes of helen to those of mine; write one"):
        in_classes(model, str(own_set), None)
