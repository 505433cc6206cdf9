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
        (
            "input",
            {"channel_order": None, "chanel_order": "rgb"},
            "unknown key 'input.chanel_order'; did .* 'channel_ord",
        ),
        ("input", {"fit": None, "fitt": "crop"}, "unknown key 'input.fitt'; did you mean 'fit'"),
        ("output", {"stride": None, "strides": 4}, "unknown key 'output.strides'; did you mean 'stride'"),
        ("", {"label_set": None, "labelset": "helen"}, "unknown key 'labelset'; did you mean 'label_set'"),
        ("", {"classes": [*CELEBA.names[:-1], "eye_r"]}, "'eye_r' is not in celebamask-hq; did you mean 'r_eye'"),
        (
            "",
            {"label_set": "celeba-mask-hq"},
            "foreign.toml: label set 'celeba-mask-hq' is not built in; did you mean 'ce",
        ),
        ("", {"input": 3}, r"input = 3: the table \[input\]"),
        ("", {"files": [{"name": "a.onnx"}]}, "files.0.bytes: field required"),
        ("input", {"fit": "fill"}, "input.fit = 'fill': give 'crop' or 'stretch'"),
        ("input", {"size": 512}, r"input.size = 512: two whole numbers, height and width, such as \[512, 512\]"),
        ("input", {"mean": [0.5, 0.5]}, r"input.mean = \[0.5, 0.5\]: three numbers that are subtracted"),
        ("input", {"mean": ["a", 0.5, 0.5]}, r"input.mean = \['a', 0.5, 0.5\]: three numbers that are subtracted"),
        ("input", {"std": [0.5, 0.5]}, r"input.std = \[0.5, 0.5\]: three numbers above 0 that the channels are then"),
        ("input", {"std": [0.5, 0.5, 0.0]}, r"input.std = \[0.5, 0.5, 0.0\]: three numbers above 0"),
        ("input", {"scale": 0}, "input.scale: what white is before mean and std, 1 or 255"),
        ("input", {"std": [5e-324] * 3}, "input: std has 4.94066e-324, which is too small a number"),
        ("input", {"scale": "one"}, "input.scale = 'one': number that white has before `mean` is subtracted: 1 or 255"),
        ("input", {"scale": 127.5}, "input.scale: .* x / 127.5 - 1 is scale = 1.0 with mean and std of 0.5"),
        ("input", {"scale": 1.0}, "input: mean has 123, where white is 1; give scale and mean on one scale"),
        ("input", {"mean": list(MEAN), "std": list(STD)}, "input: mean is 0.485 at most, where white is 255"),
        ("input", {"size": [64, 97]}, "output.stride: 64 x 97 cannot be divided by 4"),
        ("input", {"size": None}, "'input.size' is missing"),
        ("output", {"values": "softmax"}, "output.values = 'softmax': give 'logits', 'probabilities' or 'ids'"),
        ("output", {"position": 1}, "output: give the output's name, or its position from 1"),
        ("output", {"name": None}, "output: give the output's name, or its position from 1"),
        ("output", {"position": 0, "name": None}, "output.position = 0: position of the output in the file, from 1"),
    ],
)
def test_each_mistake_has_its_line(tmp_path: Path, section: str, keys: dict[str, Any], message: str) -> None:
    path = written(tmp_path, changed(section, **keys))
    with pytest.raises(SettingsError, match=rf"(?i)^[^\n]*{message}[^\n]*$"):
        read_description(path)


@pytest.mark.parametrize(
    ("section", "keys", "left"),
    [
        ("", {"label_set": "?"}, "'label_set' still is"),
        ("", {"classes": ["?"]}, "'classes' still is"),
        ("input", {"scale": "?", "std": ["?", "?", "?"]}, "'input.scale' and 1 more still is"),
        ("input", {"std": [0.5, "?", 0.5]}, "'input.std' still is"),
        ("output", {"stride": "?"}, "'output.stride' still is"),
    ],
)
def test_what_is_left_of_the_template_is_named(tmp_path: Path, section: str, keys: dict[str, Any], left: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_description(written(tmp_path, changed(section, **keys)))
    assert str(caught.value) == f"{tmp_path / 'foreign.toml'}: {left} '?'; replace every '?' by what the network has"


def test_minus_one_to_one_as_the_message_writes_it(tmp_path: Path) -> None:
    keys = {"scale": 1.0, "mean": [0.5] * 3, "std": [0.5] * 3}
    data = read_description(written(tmp_path, changed("input", **keys))).settings.data
    pixels = np.array([0.0, 100.0, 255.0])
    np.testing.assert_allclose((pixels / 255 - data.mean) / data.std, pixels / 127.5 - 1, atol=1e-12)


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
