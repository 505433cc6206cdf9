"""Runs that start from weights of other files."""

from pathlib import Path

import pytest
import torch

from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.released_names import released_state
from faceparse.core.settings import load_settings
from faceparse.core.training.run import adopt_start, resume, train
from tests.conftest import Tiny
from tests.core.training.recorded import Watcher, logged, papers_model, recorded


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """As the released code writes a checkpoint, but of the paper's network."""
    torch.save(released_state(build_model(papers_model(), 11)), tmp_path / "released.pth")
    return tmp_path / "released.pth"


def test_training_goes_on_in_the_channel_order_of_a_released_checkpoint(paper: Tiny, released: Path) -> None:
    watcher = Watcher()
    settings = paper(model__pretrained=str(released), tracking__enabled=False, optim__lr=1e-12)
    result = train(settings, watcher)
    assert f"{released} was trained with data.channel_order = bgr: training goes on so" in watcher.messages
    count = len(torch.load(released, weights_only=True))
    assert f"{released}: released EAGRNet: {count} tensors loaded" in watcher.messages
    checkpoint = read_checkpoint(result.best)
    assert checkpoint.settings.data.channel_order == "bgr"
    assert load_settings(result.run_dir / "settings.toml").data.channel_order == "bgr"
    # At a rate of nearly 0 the weights stay those of the file.
    expected = torch.load(released, weights_only=True)["layer6.conv4.weight"]
    torch.testing.assert_close(checkpoint.weights["decoder.classify.weight"], expected)


def test_a_channel_order_that_the_user_names_stands(paper: Tiny, released: Path) -> None:
    watcher = Watcher()
    settings = paper(model__pretrained=str(released), data__channel_order="rgb")
    assert adopt_start(settings, watcher) == settings
    assert watcher.messages == []


def test_mean_and_std_are_those_of_our_checkpoint(tiny: Tiny) -> None:
    first = train(tiny(data__mean="0.5,0.5,0.5", data__std="0.2,0.2,0.2", tracking__enabled=False), Watcher())
    settings = tiny(model__pretrained=str(first.best), data__std="0.3,0.3,0.3")
    adopted = adopt_start(settings, Watcher()).data
    assert (adopted.mean, adopted.std, adopted.channel_order) == ((0.5,) * 3, (0.3,) * 3, "rgb")
    assert adopted.root == settings.data.root


REPORT = "imagenet: ResNet backbone with a 7x7 stem: 120 tensors loaded, 2 of the file not used (fc.weight, fc.bias)"


def test_what_imagenets_weights_gave_is_said_at_the_start(paper: Tiny, imagenet: Path, store: str) -> None:
    watcher = Watcher()
    result = train(paper(model__pretrained="imagenet", optim__lr=1e-12), watcher)
    assert watcher.messages[0] == REPORT
    assert REPORT in (result.run_dir / "train.log").read_text().splitlines()[0]
    assert logged(store, result.run_id).data.tags["pretrained"] == REPORT.removeprefix("imagenet: ")
    assert logged(store, result.run_id).data.params["model.pretrained"] == "imagenet"
    weights = read_checkpoint(result.best).weights
    torch.testing.assert_close(
        weights["backbone.stem.0.conv.weight"], torch.load(imagenet, weights_only=True)["conv1.weight"]
    )


def test_going_on_needs_neither_the_file_nor_the_network(paper: Tiny, imagenet: Path) -> None:
    settings = paper(model__pretrained="imagenet", train__epochs=2, tracking__enabled=False)
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=1))
    imagenet.unlink()
    assert settings.train.run_dir is not None
    result = resume(settings.train.run_dir, Watcher())
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1, 2]
    assert read_checkpoint(result.run_dir / "last.pth").settings.model.pretrained == "imagenet"
