"""A made-up package onnxruntime-web, which runs nothing."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

FILES = {
    "package.json": json.dumps({"name": "onnxruntime-web", "version": "0.0.1"}).encode(),
    "dist/ort.wasm.bundle.min.mjs": b"export const env = {};\n",
    "dist/ort-wasm-simd-threaded.wasm": b"\0asm\1\0\0\0",
    "dist/ort.webgl.min.js": b"not needed",
}

Pack = Callable[..., Path]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Unpacked."""
    for name, content in FILES.items():
        file = tmp_path / "onnxruntime-web" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "onnxruntime-web"


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Make a .tgz with other files than the usual ones, and with further members."""

    def pack(files: dict[str, bytes | None] | None = None, *members: tarfile.TarInfo) -> Path:
        archive = tmp_path / "onnxruntime-web.tgz"
        with tarfile.open(archive, "w:gz") as opened:
            for name, content in (FILES | (files or {})).items():
                if content is not None:
                    member = tarfile.TarInfo(f"package/{name}")
                    member.size = len(content)
                    opened.addfile(member, io.BytesIO(content))
            for member in members:
                opened.addfile(member)
        return archive

    return pack
