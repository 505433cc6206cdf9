"""Upload a bundle as a model repository on the Hugging Face hub."""

import os
import re
from pathlib import Path

from faceparse.core.errors import CheckpointError, HubError
from faceparse.core.files.reading import read_bytes
from faceparse.core.names.hub import hub_problem, split_address
from faceparse.core.names.model_file import FOREIGN, HUB
from faceparse.core.runtime.checksums import SUMS, check_sums, listed_files

CARD = "README.md"


def push_bundle(bundle: Path, target: str, *, private: bool = False) -> str:
    """Upload the files that a bundle lists to hf:ORG/NAME, as one commit. Create the repository if needed.

    Args:
        private: whether a new repository is private.

    Returns:
        The commit's URL.

    Raises:
        CheckpointError: the bundle was changed, holds no safetensors or ONNX file, or its card names no licence.
        HubError: the hub does not accept it.
    """
    repository, revision = split_address(target)
    if revision is not None:
        raise HubError(f"{target}: a commit goes to the newest revision; write {HUB}{repository}")
    model = check_sums(bundle)
    if model.suffix not in FOREIGN:
        raise CheckpointError(f"{model}: is not loaded from the hub; export a bundle with --format safetensors or onnx")
    _must_name_licence(bundle / CARD)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the client reads it on import
    from huggingface_hub import CommitOperationAdd, HfApi

    # Each by its name: the hub's client takes names for patterns, and a file may be called `*`.
    files = [CommitOperationAdd(name, bundle / name) for name in _own_files(bundle)]
    try:
        hub = HfApi(library_name="faceparse")
        hub.create_repo(repository, private=private or None, exist_ok=True)
        commit = hub.create_commit(repository, files, commit_message=f"Upload {bundle.name}")
    except Exception as error:  # the client and what it speaks through raise errors of many kinds
        raise HubError(f"{target}: {_problem(error)}; nothing was uploaded") from None
    return str(commit.commit_url)


def _own_files(bundle: Path) -> list[str]:
    """Names of the files that the bundle lists, and of the list.

    Raises:
        CheckpointError: a link leads out of the bundle.
    """
    names = [*listed_files(bundle), SUMS]
    for name in names:
        if not (bundle / name).resolve().is_relative_to(bundle.resolve()):
            raise CheckpointError(f"{bundle / name}: a link leads out of the bundle; put the file itself there")
    return names


def _must_name_licence(card: Path) -> None:
    front = re.match(r"---\n(.*?)\n---\n", read_bytes(card).decode("utf-8", "replace"), re.DOTALL)
    if front is None or not re.search(r"^license: \S", front[1], re.MULTILINE):
        raise CheckpointError(f"{card}: names no licence; export the bundle again with --licence")


def _problem(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "the hub wants somebody who may write there; log in with 'hf auth login', or set HF_TOKEN"
    return hub_problem(error)
