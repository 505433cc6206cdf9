"""Compare a photograph's parsing in Chromium, by the exported page, with the same model's by ONNX Runtime in Python.

Both get one thread: a page on a plain static host has no more. Needs Debian's chromium, playwright, and npm for ONNX
Runtime Web.
"""

import functools
import http.server
import importlib.util
import itertools
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.harness import Result, are_here, medians
from faceparse.commands.console import silent_libraries
from faceparse.core.api import load
from faceparse.core.errors import FaceparseError
from faceparse.core.export.browser.page_folder import PAGE_MODEL
from faceparse.core.export.browser.web_runtime import find_web_runtime
from faceparse.core.export.export import Exporter, read_exportable
from faceparse.core.names.shipped import DEFAULT

CHROMIUM, PORTRAIT = Path("/usr/bin/chromium"), Path("docs/portraits/grace-hopper.jpg")
PAGES = ("browser", "browser-fp32")
ROUNDS = 7


def run() -> list[Result]:
    """Export the pages of the shipped model, and measure one photograph with one face."""
    what = "a photograph in the browser"
    if not are_here(what, CHROMIUM, PORTRAIT):
        return []
    if importlib.util.find_spec("playwright") is None:
        print(f"not measured: {what}; playwright is not installed", file=sys.stderr)
        return []
    try:
        runtime = find_web_runtime()
    except FaceparseError as error:
        print(f"not measured: {what}; {error}", file=sys.stderr)
        return []
    silent_libraries()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            exporter, results = Exporter(read_exportable(DEFAULT)), []
            for name in PAGES:
                page = Path(folder) / name
                exporter.export_page(name, page, runtime)
                parser = load(page / PAGE_MODEL, device="cpu")
                with opened(page) as parse:
                    ours, peer = medians(parse, functools.partial(parser.predict, PORTRAIT), rounds=ROUNDS)
                title = f"{name}: a photograph with one face, against ONNX Runtime in Python"
                results.append(Result(title, ours, peer, ours / peer, 3, "at most"))
    finally:
        torch.set_num_threads(threads)
    return results


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[], None]]:
    """Open a page, and return a function that waits until it shows the labels of the photograph."""
    from playwright.sync_api import expect, sync_playwright

    handler, counted = functools.partial(_Quiet, directory=str(folder)), itertools.count()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as play:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}")

        def parse() -> None:
            name = f"{next(counted)}.jpg"
            page.locator("#files").set_input_files(
                {"name": name, "mimeType": "image/jpeg", "buffer": PORTRAIT.read_bytes()}
            )
            shown = re.compile(rf"^{name}: .*1 face, parsed in \d+ ms$")
            expect(page.locator("#status")).to_have_text(shown, timeout=120_000)

        yield parse
        browser.close()
        server.shutdown()
