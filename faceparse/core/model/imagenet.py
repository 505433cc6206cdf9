"""ImageNet weights of torchvision, in torch hub's cache, which all torch programs share."""

import hashlib
import threading
from concurrent.futures import Future
from http.client import HTTPException, HTTPResponse
from math import ceil
from pathlib import Path
from urllib.request import Request, urlopen

import torch

from faceparse.core.errors import CheckpointError
from faceparse.core.files.writing import write_atomic
from faceparse.core.machine.parallel import Track, untracked

IMAGENET = "imagenet"
"""Value of `model.pretrained` for these weights. For a file of that name, write ./imagenet."""

TIMEOUT = 10.0
"""Most seconds until the server answers, and between two pieces of the file."""

MIB = 2**20


def imagenet_file(backbone: str, track: Track = untracked) -> Path:
    """Find the weights of a torchvision ResNet (such as "resnet18") in the cache, or download them.

    The file may also be put there by hand. Its SHA-256 must begin with the digits in torchvision's name of the file.

    Raises:
        CheckpointError: the file is missing and cannot be downloaded, or is not torchvision's.
        OutputError: the cache cannot be written.
    """
    from torchvision.models import get_model_weights  # here: a slow import that nothing else needs

    # V1 and not DEFAULT: it exists for every depth, is the same in every release, and torchvision's own
    # segmentation networks start from it. V2's training was tuned for accuracy on ImageNet only.
    url = get_model_weights(backbone)["IMAGENET1K_V1"].url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.is_file():
        if not _is_genuine(path, path.read_bytes()):
            raise CheckpointError(
                f"{path}: not the file of {url} (another SHA-256); remove it, and it is downloaded again"
            )
        return path
    try:
        content = _download(url, path.name, track)
    except (OSError, HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or f"no answer within {TIMEOUT:g} s"
        raise CheckpointError(
            f"{path.name} is not in {path.parent}, and {url} cannot be had ({reason}); "
            "put the file there, or set model.pretrained to a weights file or none"
        ) from None
    if not _is_genuine(path, content):
        raise CheckpointError(f"{url}: cut short or altered on its way (another SHA-256); try again")
    write_atomic(path, content)
    return path


def _is_genuine(path: Path, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest().startswith(path.stem.rpartition("-")[2])


def _download(url: str, name: str, track: Track) -> bytes:
    # Not torch hub's own download: it writes to stdout and waits without end.
    with _answer(Request(url, headers={"User-Agent": "faceparse"})) as response:
        pieces = ceil(int(response.headers["Content-Length"] or 0) / MIB)
        return b"".join(track(iter(lambda: response.read(MIB), b""), pieces, f"{name} (MiB)"))


def _answer(request: Request) -> HTTPResponse:
    """The server's answer, within `TIMEOUT` seconds.

    `urlopen` alone may take many times its timeout: it limits neither the look-up of the name nor the sum over all
    addresses.
    """
    answer: Future[HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urlopen(request, timeout=TIMEOUT))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # a daemon, so that the process can end without it
    return answer.result(TIMEOUT)
