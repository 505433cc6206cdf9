"""hf:ORG/NAME, against a hub of our own, by the client itself in processes of their own."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError
from faceparse.core.names.hub import split_address
from faceparse.core.runtime.checksums import write_sums
from tests.core.names.hub import Hub

CODE = """
import sys
from faceparse.core.errors import FaceparseError
from faceparse.core.names.find import find_model
try:
    place = find_model({!r})
    print(place.address, place.path.name, len(place.path.read_bytes()))
except FaceparseError as error:
    print("refused:", error)
assert "torch" not in sys.modules
"""

Find = Callable[..., str]


@pytest.fixture
def find(hub: Hub, tmp_path: Path) -> Find:
    """What a process that asks for a model says: one line, and nothing else on the screen."""

    def ask(name: str, **variables: str) -> str:
        done = hub.run(CODE.format(name), tmp_path / "home", **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout.count("\n") == 1
        return done.stdout.strip()

    return ask


@pytest.fixture
def own(light: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to be spoilt."""
    return Path(shutil.copytree(light, tmp_path / "own.bundle"))


def found(address: str, bundle: Path) -> str:
    return f"{address} model.safetensors {(bundle / 'model.safetensors').stat().st_size}"


def test_a_bundle_is_fetched_once_and_known_by_its_commit(hub: Hub, find: Find, light: Path, tmp_path: Path) -> None:
    first = hub.upload("org/face", light)
    assert find("hf:org/face") == found(f"hf:org/face@{first}", light)
    downloads = [line for line in hub.asked if line.startswith("GET /org/face/resolve/")]
    assert len(downloads) == len(list(light.iterdir()))
    second = hub.commit("org/face", {"notes.md": b"newer"})
    assert find("hf:org/face") == found(f"hf:org/face@{second}", light)
    assert find(f"hf:org/face@{first}") == found(f"hf:org/face@{first}", light)
    assert [line for line in hub.asked if line.startswith("GET /org/face/resolve/")][len(downloads) :] == [
        f"GET /org/face/resolve/{second}/notes.md"
    ]
    hub.asked.clear()
    assert find("hf:org/face", HF_HUB_OFFLINE="1") == found(f"hf:org/face@{second}", light)
    assert hub.asked == []


def test_what_can_hold_code_is_neither_fetched_nor_loaded(hub: Hub, find: Find, own: Path, tmp_path: Path) -> None:
    sha = hub.commit("org/face", {path.name: path.read_bytes() for path in own.iterdir()} | {"best.pth": b"pickle"})
    assert find("hf:org/face") == found(f"hf:org/face@{sha}", own)
    assert not [line for line in hub.asked if "best.pth" in line]
    (own / "model.safetensors").rename(own / "model.pt2")
    (own / "SHA256SUMS").unlink()
    write_sums(own)
    sha = hub.upload("org/program", own)
    expected = f"refused: hf:org/program@{sha}: model.pt2 is not loaded from elsewhere; only safetensors and ONNX are"
    assert find("hf:org/program") == expected
    assert not [line for line in hub.asked if "model.pt2" in line]


def test_a_private_model_wants_a_token(hub: Hub, find: Find, light: Path) -> None:
    sha = hub.upload("org/secret", light)
    hub.private.add("org/secret")
    refused = "no such model on the hub, or a private one; check the name, or log in with 'hf auth login'"
    assert find("hf:org/secret") == f"refused: hf:org/secret: {refused}"
    assert find("hf:org/secret", HF_TOKEN="hf_known") == found(f"hf:org/secret@{sha}", light)
    assert find("hf:org/nothing") == f"refused: hf:org/nothing: {refused}"


def test_an_unknown_revision_is_one_line(hub: Hub, find: Find, light: Path) -> None:
    hub.upload("org/face", light)
    expected = "the model has no such revision; name a branch, a tag or a commit of it"
    assert find("hf:org/face@v9") == f"refused: hf:org/face@v9: {expected}"


def test_a_hub_that_is_away_is_one_line(hub: Hub, find: Find) -> None:
    expected = "refused: hf:org/face: not in the hub's cache, and the hub cannot be reached ("
    assert find("hf:org/face", HF_HUB_OFFLINE="1") == f"{expected}HF_HUB_OFFLINE is set); try again when it can"
    hub.answers["/api/models/org/face/revision/main"] = (500, b"<html>down</html>")
    assert find("hf:org/face").startswith(expected)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and not listening
        assert find("hf:org/face", HF_ENDPOINT=f"http://127.0.0.1:{deaf.getsockname()[1]}").startswith(expected)


def test_a_changed_file_is_one_line(hub: Hub, find: Find, light: Path) -> None:
    hub.upload("org/face", light)
    sha = hub.commit("org/face", {"labels.toml": b"name = 'other'"})
    assert find("hf:org/face") == (
        f"refused: hf:org/face@{sha}/labels.toml: was changed since it was exported (SHA-256 differs); "
        "have the bundle uploaded again"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer, not the model"),
        (b"<!doctype html><p>Sign in", "a web page, not a model; download the file itself"),
    ],
    ids=["pointer", "page"],
)
def test_what_stands_in_a_model_s_place_is_named(
    hub: Hub, find: Find, light: Path, content: bytes, expected: str
) -> None:
    hub.upload("org/face", light)
    sha = hub.commit("org/face", {"model.safetensors": content})
    assert find("hf:org/face").startswith(f"refused: hf:org/face@{sha}/model.safetensors: {expected}")


def test_a_repository_of_others_is_no_bundle(hub: Hub, find: Find) -> None:
    sha = hub.commit("org/other", {"config.json": b"{}", "model.safetensors": b"x"})
    expected = f"refused: hf:org/other@{sha}: no bundle of 'faceparse export --bundle' (SHA256SUMS is missing)"
    assert find("hf:org/other") == expected


@pytest.mark.parametrize("name", ["hf:", "hf:face", "hf:a/b/c", "hf:a/b@", "hf:a/b@c d", "hf://a/b"])
def test_other_forms_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        split_address(name)
    assert str(caught.value) == f"{name}: write hf:ORG/NAME or hf:ORG/NAME@REVISION"
