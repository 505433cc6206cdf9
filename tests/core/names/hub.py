"""A hub of our own on this machine: as much of the Hugging Face hub's interface as its client asks for."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Files = dict[str, bytes]


@dataclass
class Hub:
    """Repositories -> commits, the newest last; `main` is that one."""

    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=lambda: {"hf_known"})
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Path -> status and content of what a broken hub answers."""
    failing: str | None = None
    """Part of the paths of uploads that the hub fails at."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def commit(self, repository: str, files: Files) -> str:
        """Its hash."""
        commits = self.repositories.setdefault(repository, {})
        sha = hashlib.sha1(f"{repository}{len(commits)}".encode()).hexdigest()
        commits[sha] = {**(list(commits.values())[-1] if commits else {}), **files}
        return sha

    def upload(self, repository: str, folder: Path) -> str:
        """Commit a folder's files."""
        return self.commit(repository, {path.name: path.read_bytes() for path in folder.iterdir()})

    def run(self, code: str, home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Python in a process of its own, whose hub this is: the client reads where it is when it is imported."""
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=kept | ours | variables, capture_output=True, text=True, timeout=300)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Answer until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if path in self.hub.answers:
            self._answer(*self.hub.answers[path])
        elif parts := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if found := self._commit(parts[1], parts[2] or "main"):
                names = [{"rfilename": name} for name in found[1]]
                self._json({"id": parts[1], "sha": found[0], "siblings": names, "private": False, "tags": []})
        elif parts := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            if found := self._commit(parts[1], parts[2]):
                self._json(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for name, content in found[1].items()
                    ]
                )
        elif parts := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if found := self._commit(parts[1], parts[2]):
                if parts[3] in found[1]:
                    content = found[1][parts[3]]
                    etag = hashlib.sha1(content).hexdigest()
                    self._answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": found[0]})
                else:
                    self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self._answer(404, b"")

    def _commit(self, repository: str, revision: str) -> tuple[str, Files] | None:
        """Its hash and files; where there is none, that is answered."""
        commits = self.hub.repositories.get(repository)
        known = self.headers.get("Authorization", "").removeprefix("Bearer ") in self.hub.tokens
        if commits is None or (repository in self.hub.private and not known):
            self._answer(404 if known else 401, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        sha = list(commits)[-1] if revision == "main" else revision
        if sha not in commits:
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return None
        return sha, commits[sha]

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or self._chunks()
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.hub.tokens:
            self._answer(401, b"")
        elif self.hub.failing and self.hub.failing in path:
            self._answer(400, b"no")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.hub.repositories:
                self._json({"url": f"{self.hub.url}/{name}", "error": "it exists"}, status=409)
                return
            self.hub.repositories[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.hub.private.add(name)
            self._json({"url": f"{self.hub.url}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]
            self._json({"files": modes})
        elif parts := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            sha = self.hub.commit(parts[1], files)
            self._json({"commitOid": sha, "commitUrl": f"{self.hub.url}/{parts[1]}/commit/{sha}"})
        else:
            self._answer(404, b"")

    def _chunks(self) -> bytes:
        """A body that came in pieces."""
        body = b""
        while self.headers.get("Transfer-Encoding") == "chunked" and (
            size := int(self.rfile.readline().strip() or b"0", 16)
        ):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def _json(self, content: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
