"""ONNX Runtime Web, which runs a model in browsers: fetched by the user's own npm, or taken from a path."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from faceparse.core.errors import ExportError, FaceparseError, ResourceError, first_line
from faceparse.core.files.reading import open_regular, read_bytes

NAME = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package's archive, as the registry and npm's lock files write it."""

FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""The files of the package that the page needs, with their SHA-256 in `VERSION`."""

MAX_BYTES = 512 * 2**20
"""Most bytes of all files in a package. `VERSION` has 145 million."""

_WASM = b"\0asm"
_PACKAGE = "package.json"
_SECONDS = 600


@dataclass(frozen=True)
class WebRuntime:
    """The files that run a model in browsers."""

    version: str
    files: Mapping[str, bytes]
    """Name -> content."""


def find_web_runtime(path: Path | None = None) -> WebRuntime:
    """Read the runtime from a package, or fetch `VERSION` with npm, which keeps it in its own cache.

    Args:
        path: an unpacked package, or its .tgz. It may have another version than `VERSION`; that one was tried.

    Raises:
        ResourceError: there is no path and no npm, or npm cannot fetch the package.
        ExportError: it is no such package, it is damaged, or its checksums are not those of `VERSION`.
    """
    if path is None:
        return _fetched()
    if path.is_dir():
        return _checked(path, _from_folder(path))
    return _checked(path, _from_archive(path))


def _fetched() -> WebRuntime:
    npm = shutil.which("npm")
    other = f"or name a copy of the package {NAME} with --onnxruntime-web"
    if npm is None:
        raise ResourceError(f"npm is not installed, and the page needs {NAME} {VERSION}; install Node.js, {other}")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--ignore-scripts", "--no-update-notifier", "--prefer-offline", "--loglevel=error"]
        command = [npm, "pack", f"{NAME}@{VERSION}", *options]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
            problem = first_line(ValueError(done.stderr)) if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = first_line(error)
        archives = sorted(Path(folder).glob("*.tgz"))
        if problem or len(archives) != 1:
            reason = problem if problem not in ("", "ValueError") else "it wrote no package"
            raise ResourceError(f"npm cannot fetch {NAME}@{VERSION} ({reason}); go online, {other}")
        content = read_bytes(archives[0])
        if f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}" != INTEGRITY:
            raise ExportError(
                f"npm fetched a {NAME}@{VERSION} whose SHA-512 is not the known one; look at npm's registry, {other}"
            )
        return _checked(Path(archives[0].name), _from_archive(archives[0]))


def _from_folder(folder: Path) -> dict[str, bytes]:
    """The needed files of an unpacked package; those that are missing are left out."""
    wanted = {_PACKAGE: folder / _PACKAGE, **{name: folder / "dist" / name for name in FILES}}
    found = {}
    for name, file in wanted.items():
        if file.is_symlink():
            raise ExportError(f"{file}: is a link; unpack the package again")
        if file.is_file():
            if file.stat().st_size > MAX_BYTES:
                raise ExportError(f"{file}: is larger than any file of {NAME}; unpack the package again")
            found[name] = read_bytes(file)
    return found


def _from_archive(archive: Path) -> dict[str, bytes]:
    """The needed files of a package's .tgz; nothing else of it is unpacked."""
    wanted = {f"package/{_PACKAGE}": _PACKAGE, **{f"package/dist/{name}": name for name in FILES}}
    found, total = dict[str, bytes](), 0
    try:
        with open_regular(archive) as file, tarfile.open(fileobj=file, mode="r:gz") as opened:
            for member in opened:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts or "\\" in member.name:
                    raise ExportError(
                        f"{archive}: its member {member.name!r} lies outside the package; get it from npm"
                    )
                if not (member.isreg() or member.isdir()):
                    raise ExportError(f"{archive}: its member {member.name!r} is a link or a device; get it from npm")
                total += member.size
                if total > MAX_BYTES:
                    raise ExportError(f"{archive}: unpacks to more than {MAX_BYTES // 2**20} MiB; get it from npm")
                name = wanted.get(member.name)
                if name is not None and (content := opened.extractfile(member)) is not None:
                    found[name] = content.read()
    except FaceparseError:
        raise
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise ExportError(f"{archive}: not a .tgz of {NAME} ({first_line(error)}); get it from npm") from None
    return found


def _checked(where: Path, found: dict[str, bytes]) -> WebRuntime:
    """Check that the files are those of the package, and of its version as far as that is known."""
    fix = f"get {NAME} {VERSION} from npm"
    try:
        said = json.loads(found[_PACKAGE])
        name, version = str(said["name"]), str(said["version"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ExportError(f"{where}: has no {_PACKAGE} with a name and a version; {fix}") from None
    if name != NAME:
        raise ExportError(f"{where}: is the package {name[:60]!r}, not {NAME}; {fix}")
    if not version.isprintable() or len(version) > 60:
        raise ExportError(f"{where}: its version is no version; {fix}")
    for file, sha256 in FILES.items():
        if file not in found:
            raise ExportError(f"{where}: lacks dist/{file}; {fix}")
        if version == VERSION and hashlib.sha256(found[file]).hexdigest() != sha256:
            raise ExportError(f"{where}: dist/{file} is not that of {NAME} {VERSION} (SHA-256 differs); {fix}")
        if file.endswith(".wasm") and not found[file].startswith(_WASM):
            raise ExportError(f"{where}: dist/{file} is no WebAssembly; {fix}")
    return WebRuntime(version, {file: found[file] for file in FILES})
