import json
import os
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.annotations.coco import CocoFile
from faceparse.core.annotations.cvat import CvatFile
from faceparse.core.annotations.label_studio import LabelStudioFile
from faceparse.core.annotations.labelme import encode_labelme
from faceparse.core.errors import DatasetError
from tests.core.annotations.labels import HELEN, redrawn, two_faces


def refusal(content: str | bytes) -> str:
    path = Path("some.file")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError) as caught:
        read_annotations(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("some.file: ")


def test_the_content_tells_whose_file_it_is() -> None:
    label, owner = two_faces()
    path = Path("annotations.xml")  # a wrong name, and a byte order mark as Windows writes it
    path.write_bytes(b"\xef\xbb\xbf\n" + encode_labelme("a.jpg", label, owner, HELEN))
    assert np.array_equal(redrawn(path), label)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '{"_via_settings": {}, "_via_img_metadata": {}}',
            "(_via_settings, _via_img_metadata); export it as one of them",
        ),
        ("[]", "(a list); export it as one of them"),
        ("{}", "(empty); export it as one of them"),
        ('[{"image": "a.jpg", "tag": []}]', "(a list); export it as one of them"),
        ("3", "(a list); export it as one of them"),
    ],
)
def test_a_file_of_another_tool_is_refused(content: str, expected: str) -> None:
    assert refusal(content) == f"not LabelMe, COCO, CVAT for images or Label Studio {expected}"


def test_a_file_that_is_none_is_refused() -> None:
    assert refusal("") == "not valid JSON or XML (Expecting value: line 1 column 1 (char 0)); export it again"
    assert refusal(b"\xff\xfe\x00") == "not a text file in UTF-8; export it again"
    assert refusal("[" * 10**6) == "not valid JSON or XML (nested too deeply); export it again"
    with pytest.raises(DatasetError, match="^cannot read nothing.json: No such file or directory$"):
        read_annotations(Path("nothing.json"))
    with pytest.raises(DatasetError, match="^cannot read .: Is a directory$"):
        read_annotations(Path())


def test_a_file_that_is_too_large_is_not_read() -> None:
    with Path("large.json").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(DatasetError, match=r"^large\.json: larger than 1024 MiB; export it in parts$"):
        read_annotations(Path("large.json"))


def test_a_damaged_file_is_read_or_refused_in_one_line() -> None:
    """Of each tool, with a few bytes changed, removed or added."""
    random = np.random.default_rng(0)
    label, owner = two_faces()
    seeds = [encode_labelme("a.jpg", label, owner, HELEN)]
    for tool in (CocoFile, CvatFile, LabelStudioFile):
        with tool.open(Path(), HELEN) as file:
            file.add("a.jpg", (32, 40), file.describe(label, owner))
        seeds.append(Path(tool.name).read_bytes())
    path, refused = Path("damaged"), 0
    for n in range(400):
        data = bytearray(seeds[n % len(seeds)])
        for _ in range(random.integers(1, 5)):
            start = int(random.integers(len(data)))
            data[start : start + random.integers(0, 4)] = random.choice(
                [b"", b"9", b"-", b",", b"NaN", b"1e999", b"<", b'"']
            )
        path.write_bytes(data)
        os.utime(path, ns=(n, n))
        try:
            for photograph in read_annotations(path):
                photograph.draw(HELEN, (32, 40))
        except DatasetError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 100 < refused < 400


def test_a_file_that_changes_is_read_again() -> None:
    label, owner = two_faces()
    path = Path("a.json")
    path.write_bytes(encode_labelme("a.jpg", label, owner, HELEN))
    assert read_annotations(path) is read_annotations(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shapes": []}))
    os.utime(path, ns=(1, 1))
    assert redrawn(path).max() == 0
