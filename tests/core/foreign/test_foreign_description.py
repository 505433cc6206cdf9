"""A description is read as a whole or refused in one line that names the key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from faceparse.core.checking.class_orders import ORDERS
from faceparse.core.errors import SettingsError
from faceparse.core.foreign.foreign_description import known_descriptions, read_description
from tests.core.foreign.networks import CELEBA, MEAN, STD

GOOD: dict[str, Any] = {
    "name": "a network",
    "label_set": "celebamask-hq",
    "classes": list(CELEBA.names),
    "input": {
        "size": [64, 96],
        "fit": "stretch",
        "channel_order": "rgb",
        "scale": 255.0,
        "mean": [104.0, 117.0, 123.0],
        "std": [51.0, 51.0, 51.0],
    },
    "output": {"name": "output", "values": "logits", "stride": 4},
}


def written(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "foreign.toml"
    path.write_text(tomli_w.dumps(content))
    return path


def changed(section: str, **keys: Any) -> dict[str, Any]:
    """The good one with other keys; None takes a key away."""
    content = {**GOOD, "input": dict(GOOD["input"]), "output": dict(GOOD["output"])}
    table = content[section] if section else content
    table.update(keys)
    for key in [key for key, value in table.items() if value is None]:
        del table[key]
    return content


def test_scales_become_ours(tmp_path: Path) -> None:
    """faceparse divides by 255 first: (x / 255 - mean) / std is the described (x - mean) / std."""
    description = read_description(written(tmp_path, GOOD))
    data = description.settings.data
    white = (np.ones(3) - data.mean) / data.std
    np.testing.assert_allclose(white, (255 - np.array([104, 117, 123])) / 51)
    assert (data.input_size, data.channel_order) == ((64, 96), "rgb")
    assert description.channels == tuple(range(19))


def test_a_label_set_of_its_own_lies_beside_the_description(tmp_path: Path) -> None:
    own = {"name": "two", "side": "none", "classes": {"background": "#000000", "face": "#ffffff"}}
    (tmp_path / "two.toml").write_text(tomli_w.dumps(own))
    content = changed("", label_set="two.toml", classes=["face", "background"])
    description = read_description(written(tmp_path, content))
    assert (description.label_set.names, description.channels) == (("background", "face"), (1, 0))


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        ("", {"classes": list(CELEBA.names[:-1])}, "classes: 18 names, celebamask-hq has 19: 'cloth' is missing"),
        ("", {"classes": [*CELEBA.names[:-1], "hat"]}, "classes: 'hat' stands there twice"),
        ("", {"classes": [*CELEBA.names[:-1], "clth"]}, "'clth' is not in celebamask-hq; did you mean 'cloth'"),
        ("", {"classes": None}, "'classes' is missing"),
        ("", {"label_set": "celebamask"}, "'celebamask' is not built in; did you mean 'celebamask-hq'"),
        ("", {"label_set": 3}, "label_set: give the name of a label set, or its TOML file"),
        ("", {"label_set": None}, "'label_set' is missing"),
        ("", {"licens": "mit"}, "unknown key 'licens'; did you mean 'licence'?"),
        ("", {"name": "two\nlines"}, "name: is one line of printable letters"),
        ("input", {"chanel_order": "rgb"}, r"unknown key 'input.chanel_order'; did you mean 'channel_order'\?"),
        ("input", {"fit": "?"}, "input.fit: input should be 'crop' or 'stretch'"),
        ("input", {"mean": [0.5, 0.5]}, "input.mean"),
        ("input", {"std": [0.5, 0.5, 0.0]}, "input.std"),
        ("input", {"scale": 0}, "input.scale"),
        ("input", {"scale": 1e-320}, "input: scale = 1e-320: mean and std are too large for it"),
        ("input", {"size": [64, 97]}, "output.stride: 64 x 97 cannot be divided by 4"),
        ("input", {"size": None}, "'input.size' is missing"),
        ("output", {"values": "softmax"}, "output.values: input should be 'logits', 'probabilities' or 'ids'"),
        ("output", {"position": 1}, "output: give the output's name, or its position from 1"),
        ("output", {"name": None}, "output: give the output's name, or its position from 1"),
        ("output", {"position": 0, "name": None}, "output.position"),
    ],
)
def test_each_mistake_has_its_line(tmp_path: Path, section: str, keys: dict[str, Any], message: str) -> None:
    path = written(tmp_path, changed(section, **keys))
    with pytest.raises(SettingsError, match=rf"(?i)^[^\n]*{message}[^\n]*$"):
        read_description(path)


def test_what_is_no_description(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(SettingsError, match="bad.toml: not valid TOML"):
        read_description(tmp_path / "bad.toml")
    with pytest.raises(SettingsError, match="no such file, and no known network; did you mean 'bisenet-resnet18'"):
        read_description(Path("bisenet-resnet50"))


def test_the_known_networks_are_as_their_authors_say() -> None:
    known = known_descriptions()
    assert set(known) == {"bisenet-resnet18", "segformer-b5"}
    bisenet, segformer = known["bisenet-resnet18"], known["segformer-b5"]
    assert bisenet.classes == tuple(ORDERS["zllrunning"].split())
    assert segformer.classes == CELEBA.names
    assert (bisenet.output.position, bisenet.output.stride) == (1, 1)
    assert (segformer.output.name, segformer.output.stride, segformer.input.name) == ("logits", 4, "pixel_values")
    for one in known.values():
        assert (one.input.size, one.input.fit, one.input.channel_order) == ((512, 512), "stretch", "rgb")
        assert (one.input.scale, one.input.mean, one.input.std) == (1.0, MEAN, STD)
    (file,) = bisenet.files
    assert (file.name, file.bytes) == ("resnet18.onnx", 53205364)
