"""Uploads to a hub of our own, by the client itself in processes of their own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError, HubError
from faceparse.core.names.push import push_bundle
from faceparse.core.runtime.checksums import write_sums
from tests.core.names.hub import Hub

Push = Callable[..., tuple[int, str, str]]


@pytest.fixture
def push(hub: Hub, tmp_path: Path) -> Push:
    """What the command leaves: exit code, stdout, stderr."""

    def call(*arguments: object, token: str = "hf_known") -> tuple[int, str, str]:
        words = ["push", *map(str, arguments)]
        code = f"import sys, faceparse.cli; sys.exit(faceparse.cli.run({words}))"
        done = hub.run(code, tmp_path / "home", HF_TOKEN=token)
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def own(light: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to be spoilt."""
    return Path(shutil.copytree(light, tmp_path / "own.bundle"))


def test_what_a_bundle_lists_becomes_one_commit(hub: Hub, push: Push, own: Path) -> None:
    expected = {path.name: path.read_bytes() for path in own.iterdir()}
    (own / "notes.txt").write_text("mine")
    code, out, err = push(own, "hf:org/face", "--private")
    ((sha, files),) = hub.repositories["org/face"].items()
    assert (code, out, err) == (0, f"{hub.url}/org/face/commit/{sha}\n", "")
    assert files == expected
    assert hub.private == {"org/face"}


def test_a_second_upload_goes_to_the_same_repository(hub: Hub, push: Push, own: Path) -> None:
    hub.commit("org/face", {"README.md": b"earlier"})
    assert push(own, "hf:org/face")[0] == 0
    earlier, newer = hub.repositories["org/face"].values()
    assert earlier == {"README.md": b"earlier"}
    assert newer["README.md"] == (own / "README.md").read_bytes()
    assert hub.private == set()


def test_a_stranger_is_told_to_log_in(hub: Hub, push: Push, own: Path) -> None:
    code, out, err = push(own, "hf:org/face", token="hf_stranger")
    expected = "the hub wants somebody who may write there; log in with 'hf auth login', or set HF_TOKEN"
    assert (code, out, err) == (2, "", f"error: hf:org/face: {expected}; nothing was uploaded\n")
    assert hub.repositories == {}


def test_a_hub_that_fails_is_one_line(hub: Hub, push: Push, own: Path) -> None:
    hub.commit("org/face", {"README.md": b"earlier"})
    hub.failing = "/commit/"
    code, out, err = push(own, "hf:org/face")
    assert (code, out) == (2, "")
    assert err.startswith("error: hf:org/face: the hub's client failed (")
    assert err.endswith("); try again; nothing was uploaded\n")
    assert err.count("\n") == 1
    assert hub.asked[-1] == "POST /api/models/org/face/commit/main"
    assert len(hub.repositories["org/face"]) == 1


def changed(own: Path) -> None:
    (own / "labels.toml").write_text("name = 'other'")


def unlicensed(own: Path) -> None:
    card = own / "README.md"
    card.write_text(card.read_text().replace("license: other\n", ""))
    write_sums_again(own)


def a_program(own: Path) -> None:
    (own / "model.safetensors").rename(own / "model.pt2")
    write_sums_again(own)


def write_sums_again(own: Path) -> None:
    (own / "SHA256SUMS").unlink()
    write_sums(own)


def no_bundle(own: Path) -> None:
    (own / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (changed, "labels.toml: was changed since it was exported (SHA-256 differs); copy the bundle again"),
        (unlicensed, "README.md: names no licence; export the bundle again with --licence"),
        (a_program, "model.pt2: is not loaded from the hub; export a bundle with --format safetensors or onnx"),
        (no_bundle, "SHA256SUMS: is missing from the bundle; copy the bundle again"),
    ],
)
def test_what_is_not_uploaded(own: Path, spoil: Callable[[Path], None], expected: str) -> None:
    spoil(own)
    with pytest.raises(CheckpointError) as caught:
        push_bundle(own, "hf:org/face")
    assert str(caught.value) == f"{own}/{expected}"


def test_a_target_is_a_name_alone(own: Path) -> None:
    with pytest.raises(HubError, match="^hf:org/face@main: a commit goes to the newest revision; write hf:org/face$"):
        push_bundle(own, "hf:org/face@main")
    with pytest.raises(CheckpointError, match="^org/face: write hf:ORG/NAME or hf:ORG/NAME@REVISION$"):
        push_bundle(own, "org/face")


def list_anew(bundle: Path) -> None:
    (bundle / "SHA256SUMS").unlink()
    write_sums(bundle)


def test_a_name_is_no_pattern_and_a_link_is_not_followed(hub: Hub, push: Push, own: Path, tmp_path: Path) -> None:
    """A stranger's bundle may list a file that is called `*`, and hold links to anything."""
    (own / "*").write_text("a star")
    list_anew(own)
    (own / ".env").write_text("secret")
    code, _, err = push(own, "hf:org/face")
    assert code == 0, err
    (files,) = hub.repositories["org/face"].values()
    assert "*" in files
    assert ".env" not in files
    (tmp_path / "id_rsa").write_text("secret")
    (own / "notes.txt").symlink_to(tmp_path / "id_rsa")
    list_anew(own)
    code, _, err = push(own, "hf:org/other")
    assert (code, err.count("\n")) == (2, 1)
    assert "notes.txt: a link leads out of the bundle; put the file itself there" in err
    assert "org/other" not in hub.repositories


def test_what_does_not_load_is_not_uploaded(hub: Hub, push: Push, own: Path) -> None:
    next(own.glob("model*")).write_bytes(b"x")
    list_anew(own)
    code, _, err = push(own, "hf:org/face")
    assert (code, err.count("\n")) == (2, 1)
    assert hub.repositories == {}
