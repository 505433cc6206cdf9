from dataclasses import dataclass
from pathlib import Path

import pytest

from faceparse.core.text.shapes import parse_json_as
from faceparse.core.text.toml_json import LARGEST, parse_json, read_toml


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"a = " + b"9" * 10_000, "not valid TOML"),
        (b"#" * (LARGEST + 1), "larger than 4 MiB"),
        (b"\xff\xfea\0", "not a text file"),
        (b"a = ", "not valid TOML: Invalid value"),
    ],
    ids=["deep", "digits", "vast", "utf-16", "broken"],
)
def test_toml_that_cannot_be_read_is_one_kind_of_error(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_toml(tmp_path / "a.toml")


def test_a_device_and_a_folder_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="larger than"):
        read_toml(Path("/dev/zero"))
    with pytest.raises(ValueError, match="cannot be read"):
        read_toml(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", '{"a": -Infinity}', "9" * 10_000, "{"])
def test_json_that_cannot_be_read_is_one_kind_of_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@dataclass
class Shape:
    number: int
    words: tuple[str, ...] = ()


def test_json_of_a_known_shape_is_that() -> None:
    assert parse_json_as(Shape, '{"number": 3, "words": ["a", "b"]}') == Shape(3, ("a", "b"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{}", "'number' is missing"),
        (b'{"number": "x"}', "number: Input should be a valid integer"),
        (b'{"number": 1, "words": [1]}', "words.0: Input should be a valid string"),
        (b"[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        (b'{"number": 1, "\xff": 2}', "Invalid JSON"),
        (b"", "Invalid JSON"),
    ],
)
def test_json_of_another_shape_is_one_kind_of_error(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json_as(Shape, text)
    assert "\n" not in str(caught.value)
