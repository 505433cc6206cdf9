"""Bundles on the Hugging Face hub, through its own client: its cache, its tokens, its offline mode."""

import os
import re
from pathlib import Path

from faceparse.core.errors import CheckpointError
from faceparse.core.files.content import must_be_a_model
from faceparse.core.names.model_file import FOREIGN, HUB, ModelFile
from faceparse.core.runtime.checksums import MODEL, SUMS, check_sums, is_bundle, listed_files

FETCHED = ["*.safetensors", "*.onnx", "*.toml", "*.json", "*.md", SUMS]
"""Patterns of the files that are downloaded: never a pickle or a program."""


def fetch_bundle(source: str) -> ModelFile:
    """Find the model of hf:ORG/NAME or hf:ORG/NAME@REVISION in the cache, or download it.

    A revision is a branch, a tag or a commit.

    Raises:
        CheckpointError: there is no such model or revision, the hub cannot be reached, or it is no intact bundle of
            safetensors or ONNX.
    """
    repository, revision = split_address(source)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the client reads it on import
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=FETCHED))
    except Exception as error:  # the client and its network libraries raise errors of many kinds
        raise CheckpointError(f"{source}: {hub_problem(error)}") from None
    address = f"{HUB}{repository}@{folder.name}"
    return ModelFile(_model_in(folder, address), address)


def hub_cache() -> Path:
    """Cache folder of the hub's client. It may not exist yet."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def split_address(source: str) -> tuple[str, str | None]:
    """Split hf:ORG/NAME@REVISION into ORG/NAME and REVISION.

    Raises:
        CheckpointError: the address has another form.
    """
    parts = re.fullmatch(rf"{HUB}([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", source, re.ASCII)
    if parts is None:
        raise CheckpointError(f"{source}: write {HUB}ORG/NAME or {HUB}ORG/NAME@REVISION")
    return parts[1], parts[2]


def hub_problem(error: Exception) -> str:
    """Meaning of an error of the hub's client, and how to fix it."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "its owners want to be asked first; ask on its page on the hub, then log in with 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such model on the hub, or a private one; check the name, or log in with 'hf auth login'"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the model has no such revision; name a branch, a tag or a commit of it"
    reason = _reason(error)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"not in the hub's cache, and the hub cannot be reached ({reason}); try again when it can"
    return f"the hub's client failed ({reason}); try again"


def _reason(error: BaseException) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    cause = error.__cause__ or error
    if isinstance(cause, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    lines = str(cause).strip().splitlines()
    return lines[0][:120].rstrip(".") if lines else type(cause).__name__


def _model_in(folder: Path, address: str) -> Path:
    if not is_bundle(folder):
        raise CheckpointError(f"{address}: no bundle of 'faceparse export --bundle' ({SUMS} is missing)")
    for name in listed_files(folder):
        if name.startswith(MODEL) and not name.endswith(FOREIGN):
            raise CheckpointError(f"{address}: {name} is not loaded from elsewhere; only safetensors and ONNX are")
        if name.startswith(MODEL) and (folder / name).is_file():
            must_be_a_model(folder / name, f"{address}/{name}")
    return check_sums(folder, where=address, fix="have the bundle uploaded again")
