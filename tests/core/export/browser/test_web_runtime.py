"""The runtime: from a folder, from an archive, from npm, and what is refused."""

import base64
import gzip
import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from faceparse.core.errors import FaceparseError
from faceparse.core.export.browser import web_runtime
from faceparse.core.export.browser.web_runtime import VERSION, find_web_runtime
from tests.core.export.browser.conftest import FILES, Pack


def describe(name: str = "onnxruntime-web", version: str = "0.0.1") -> bytes:
    return json.dumps({"name": name, "version": version}).encode()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def refusal(path: Path | None = None) -> str:
    with pytest.raises(FaceparseError) as caught:
        find_web_runtime(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_folder_and_an_archive_give_the_same_files(package: Path, pack: Pack) -> None:
    expected = {name.removeprefix("dist/"): content for name, content in FILES.items() if "ort" in name}
    del expected["ort.webgl.min.js"]
    for path in (package, pack()):
        found = find_web_runtime(path)
        assert found.version == "0.0.1"
        assert dict(found.files) == expected


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"package.json": None}, "has no package.json with a name and a version"),
        ({"package.json": b"[" * 100_000}, "has no package.json with a name and a version"),
        ({"package.json": b"\xff\xfe"}, "has no package.json with a name and a version"),
        ({"package.json": describe("left-pad")}, "is the package 'left-pad', not onnxruntime-web"),
        ({"package.json": describe(version="1\n2")}, "its version is no version"),
        ({"dist/ort-wasm-simd-threaded.wasm": None}, "lacks dist/ort-wasm-simd-threaded.wasm"),
        ({"dist/ort.wasm.bundle.min.mjs": None}, "lacks dist/ort.wasm.bundle.min.mjs"),
        ({"dist/ort-wasm-simd-threaded.wasm": b"MZ"}, "dist/ort-wasm-simd-threaded.wasm is no WebAssembly"),
        (
            {"package.json": describe(version=VERSION)},
            f"dist/ort.wasm.bundle.min.mjs is not that of onnxruntime-web {VERSION} (SHA-256 differs)",
        ),
    ],
)
def test_another_package_is_refused(package: Path, pack: Pack, files: dict[str, bytes | None], problem: str) -> None:
    fix = f"; get onnxruntime-web {VERSION} from npm"
    archive = pack(files)
    assert refusal(archive) == f"{archive}: {problem}{fix}"
    for name, content in files.items():
        (package / name).unlink() if content is None else (package / name).write_bytes(content)
    assert refusal(package) == f"{package}: {problem}{fix}"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (member("package/../../evil.js"), "its member 'package/../../evil.js' lies outside the package"),
        (member("/etc/evil"), "its member '/etc/evil' lies outside the package"),
        (member("package\\..\\evil"), "its member 'package\\\\..\\\\evil' lies outside the package"),
        (member("package/dist/x", tarfile.SYMTYPE, "/etc/passwd"), "its member 'package/dist/x' is a link or a device"),
        (member("package/dist/x", tarfile.LNKTYPE, "package/y"), "its member 'package/dist/x' is a link or a device"),
        (member("package/dist/x", tarfile.FIFOTYPE), "its member 'package/dist/x' is a link or a device"),
    ],
)
def test_a_hostile_archive_is_refused(pack: Pack, tmp_path: Path, bad: tarfile.TarInfo, problem: str) -> None:
    archive = pack(None, bad)
    before = sorted(tmp_path.rglob("*"))
    assert refusal(archive) == f"{archive}: {problem}; get it from npm"
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_grows_without_end_is_refused(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_runtime, "MAX_BYTES", 2**20)
    archive = pack({"dist/zeros": bytes(2**20)})
    assert archive.stat().st_size < 10_000
    assert refusal(archive) == f"{archive}: unpacks to more than 1 MiB; get it from npm"


def test_what_is_no_archive_is_refused(pack: Pack, tmp_path: Path) -> None:
    whole = pack().read_bytes()
    archive = tmp_path / "bad.tgz"
    for content in (b"", b"PK\3\4", whole[: len(whole) // 2], gzip.compress(b"text")):
        archive.write_bytes(content)
        assert refusal(archive).startswith(f"{archive}: ")
    os.mkfifo(tmp_path / "pipe.tgz")
    assert refusal(tmp_path / "pipe.tgz").startswith(f"cannot read {tmp_path / 'pipe.tgz'}: ")
    assert refusal(tmp_path / "none.tgz") == f"cannot read {tmp_path / 'none.tgz'}: No such file or directory"


def test_links_in_a_folder_are_refused(package: Path, tmp_path: Path) -> None:
    wasm = package / "dist" / "ort-wasm-simd-threaded.wasm"
    shutil.move(wasm, tmp_path / "elsewhere.wasm")
    wasm.symlink_to(tmp_path / "elsewhere.wasm")
    assert refusal(package) == f"{wasm}: is a link; unpack the package again"


def make_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name."""
    (folder / "bin").mkdir()
    npm = folder / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def test_npm_fetches_it(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack()
    script = f'echo "$@" > {tmp_path}/asked; cp {archive} onnxruntime-web-{VERSION}.tgz'
    make_npm(tmp_path, monkeypatch, script)
    assert refusal().startswith(f"npm fetched a onnxruntime-web@{VERSION} whose SHA-512 is not the known one; ")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    monkeypatch.setattr(web_runtime, "INTEGRITY", f"sha512-{digest}")
    assert find_web_runtime() == find_web_runtime(archive)
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:2] == ["pack", f"onnxruntime-web@{VERSION}"]
    assert "--ignore-scripts" in asked


def test_without_npm_or_network_a_copy_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = "or name a copy of the package onnxruntime-web with --onnxruntime-web"
    make_npm(tmp_path, monkeypatch, "echo 'npm error network down' >&2; exit 1")
    assert refusal() == f"npm cannot fetch onnxruntime-web@{VERSION} (npm error network down); go online, {copy}"
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\n")
    assert refusal() == f"npm cannot fetch onnxruntime-web@{VERSION} (it wrote no package); go online, {copy}"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal() == (f"npm is not installed, and the page needs onnxruntime-web {VERSION}; install Node.js, {copy}")
