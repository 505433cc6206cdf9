"""Models on other servers, each with the checksum that it must have, kept in the user's cache folder."""

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

from faceparse.core.errors import CheckpointError
from faceparse.core.files.content import must_be_a_model
from faceparse.core.files.writing import make_folder
from faceparse.core.names.cache_folder import cache_folder
from faceparse.core.names.model_file import FOREIGN, ModelFile
from faceparse.core.text.address import public_address, without_secrets

TIMEOUT = 10
"""Most seconds until a server answers, and between two pieces of a file."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def downloads() -> Path:
    """The folder of downloaded files."""
    return cache_folder() / "web"


def fetch_file(source: str) -> ModelFile:
    """Find the file of https://HOST/FILE#sha256=HEX in the cache, or download it. A file with another hash is not kept.

    Raises:
        CheckpointError: no hash, no safetensors or ONNX file, another hash, or the server cannot be reached.
        OutputError: the cache cannot be written.
    """
    url, _, fragment = source.partition("#")
    if public_address(url) != url:
        raise CheckpointError(
            f"{without_secrets(source)}: user and password of an address would be kept in files; put them into ~/.netrc"
        )
    name = urlsplit(url).path.rpartition("/")[2]
    if not url.startswith("https://") and urlsplit(url).hostname not in _LOOPBACK:
        raise CheckpointError(f"{source}: http can be altered on its way; use https://")
    if not name.endswith(FOREIGN):
        raise CheckpointError(f"{source}: only {' and '.join(FOREIGN)} files are loaded from elsewhere")
    expected = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if expected is None:
        raise CheckpointError(
            f"{source}: add the SHA-256 that the file must have, {url}#sha256=HEX; 'sha256sum FILE' says it"
        )
    return ModelFile(_fetch(url, name, expected[1].lower(), source), f"{url}#sha256={expected[1].lower()}")


def _fetch(url: str, name: str, sha256: str, source: str) -> Path:
    import pooch

    make_folder(downloads())
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it prints a line for each download
    try:
        kept = pooch.retrieve(
            url, f"sha256:{sha256}", fname=f"{sha256[:16]}-{name}", path=downloads(), downloader=_download
        )
    except CheckpointError:
        raise
    except ValueError:  # pooch raises this for another hash
        raise CheckpointError(f"{source}: the file there has another SHA-256; nothing was kept") from None
    except Exception as error:  # requests and its network libraries raise errors of many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{source}: cannot be downloaded ({lines[0][:160]}); try again") from None
    finally:
        logger.setLevel(level)
    return Path(kept)


def _download(url: str, file: str, _: object) -> None:
    """Download a file with pooch, and check that it is a model."""
    import pooch

    pooch.HTTPDownloader(timeout=TIMEOUT)(url, file, None)
    must_be_a_model(Path(file), url)
