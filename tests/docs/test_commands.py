"""Every command and every piece of Python that README.md and docs/ show is run, in a folder of tiny things.

A page is a session: its blocks run in their order in a copy of that folder, and what one leaves the next finds. A block
with a title is the file of that name. What cannot be run here is in NOT_RUN with the reason; its options are checked.
"""

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from faceparse import cli
from faceparse.core.model import build
from faceparse.core.settings import keys
from tests.docs.shown import PAGES, ROOT, SHELL, Block, Command, blocks, commands, inline
from tests.docs.world import ENVIRONMENT, make_world

FILE_ELSEWHERE = "https://example.org/face.onnx#sha256=5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

NOT_RUN = {
    "make": "sets up, builds, and runs this very suite",
    "pip": "changes the environment that the tests run in",
    "source": "a shell's own; the tests run in that environment",
    "git": "a download",
    "torchrun": "processes of their own; test_scaling.py starts them",
    "python -m benchmarks": "minutes of a quiet machine",
    "python -m pytest": "is what runs this",
    "faceparse ui": "a server",
    "faceparse web": "a server; tests/core/web and tests/commands/test_web.py have it",
    "faceparse push": "a hub; tests/core/names/test_push.py has one",
    "faceparse hf:mine/face": "a hub; tests/core/names/test_hub.py has one",
    f"faceparse {FILE_ELSEWHERE}": "a server; tests/core/names/test_web.py has one",
    'python faceparse.load("hf:mine/face")': "a hub",
    "mlflow server": "a server; tests/commands/test_mlflow_server.py starts one",
    "createuser": "a database; tests/commands/test_mlflow_server.py starts one",
    "createdb": "a database",
    "export": "a shell's own, and names that server",
    "mlflow models": "a server; tests/core/tracking/test_servable.py has what it serves",
    "mlflow artifacts": "a process that starts slowly",
    "faceparse predict model/artifacts/bundle": "what that process would have fetched",
    "python import requests": "a server",
    "curl": "a server",
    "printf": "what curl sends",
    "ssh": "another machine",
    "faceparse export runs/faceparse/<run>/best.pth": "ten seconds, and export.md does the same",
    "faceparse export runs/fasseg/<run>/best.pth": "ten seconds, and export.md does the same",
    "faceparse export runs/fasseg/<folds>": "ten seconds; tests/core/sweeps/test_folds.py exports an ensemble",
    "faceparse export --benchmark": "ten seconds a format; tests/core/export/test_export.py makes each",
    "faceparse export --bundle": "ten seconds; tests/core/export/test_bundle.py makes one",
    "faceparse export --preprocessing": "ten seconds; tests/core/export/test_export.py makes one",
    "faceparse export --limit": "ten seconds, for another crop and fewer photographs",
    "faceparse export --opset": "ten seconds; tests/core/export/test_onnx.py writes such a file",
    "faceparse export --layout": "a minute; tests/core/export/test_bisenet.py makes one",
    "faceparse export openvino,openvino-fp16": "ten seconds a format; tests/core/export/test_export.py makes each",
    "faceparse export openvino-int8": "minutes; tests/core/export/test_export.py makes one",
    "python face-model/run.py": "a bundle of another command; tests/core/runtime/test_program.py runs one",
    "faceparse export --format browser": "ten seconds, and npm; tests/core/export/browser makes them",
    "python -m http.server": "a server; test_in_browser.py starts one",
    "faceparse export --fixed-size": "ten seconds; tests/core/export/test_sizes.py makes one",
    "faceparse experiments/celebamask-hq-light.toml": "a download; test_interruptions.py trains a light network",
    "faceparse experiments/fasseg-light.toml": "the shipped model's network, which is larger than those of the tests",
    "faceparse import resnet18.onnx": "a download",
    "faceparse import segformer.onnx": "a download; tests/core/foreign/test_import_model.py makes such a network",
    "faceparse import --try": "a network that knows faces; tests/core/foreign/test_guesses.py has one",
    "faceparse dataset/Drafts": "a network that finds faces; tests/core/prediction/test_photographs.py has such files",
    "faceparse --profile": "ten seconds of profiling; tests/core/training/test_profile.py has it",
    "faceparse --gpus": "no GPU",
    "faceparse --nodes": "several machines",
    "faceparse --processes": "processes of their own start slowly; tests/core/training/test_launch.py starts them",
    "faceparse imagenet": "a download; tests/core/model/test_imagenet.py has a stand-in",
    "faceparse s3://bucket/photos": "no bucket; tests/core/images/test_photograph_sources.py has a stand-in",
    "faceparse s3://bucket/shards/*.tar": "no bucket; tests/core/images/test_photograph_sources.py has a stand-in",
    "faceparse --ray": "a cluster starts slowly; tests/core/prediction/test_ray_photographs.py has one",
    "faceparse webcam:0": "no camera; tests/core/prediction/test_films.py has a stand-in",
    "faceparse released/best.pth": "a ResNet-101's 267 MB; tests/core/parser/test_released_names.py loads such a file",
}
"""A program and further words of its command -> why that is not run here; faceparse's options are checked all the same.
A block of Python counts as a command of the program `python`."""

if find_spec("openvino") is None:
    NOT_RUN |= {
        "faceparse export --format openvino": "the extra 'openvino' is not installed",
        "faceparse best.xml": "the extra 'openvino' is not installed",
    }

PROGRAMS = {"cat", "find", "mkdir", "cp", "ls", "sha256sum"}
"""Others that are run as they are."""

FILES_NAMED_LIKE_SETTINGS = {"train.log", "tracking.json", "model.json"}


def reason(stage: tuple[str, ...]) -> str | None:
    """Why this is not run."""
    return next((why for words, why in NOT_RUN.items() if fits(words, stage)), None)


def fits(words: str, stage: tuple[str, ...]) -> bool:
    program, *others = words.split()
    inside = [word for word in stage if not re.match(r"[A-Z_]+=", word)]  # less the variables before the program
    return inside[:1] == [program] and set(others) <= set(inside)


def parse(words: tuple[str, ...]) -> None:
    """faceparse's words are a command, its options, and its arguments; else a TyperException."""
    command: Any = typer.main.get_command(cli.app)
    rest = list(words[1:])
    while hasattr(command, "commands") and not (rest and rest[0].startswith("-")):
        if not rest and command.invoke_without_command:
            break
        if not rest or rest[0] not in command.commands:
            raise typer.TyperException(f"no such command: {' '.join(words)}")
        command = command.commands[rest.pop(0)]
    context = command.make_context(words[0], rest)
    for given in (context.params.get("set_") or []) + (context.params.get("over") or []):
        assert given.partition("=")[0] in keys(), f"no such setting: {given}"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """Not to be written to: pages get copies."""
    root = tmp_path_factory.mktemp("world") / "world"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        _settle(patch, root)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        make_world(root)
    return root


def _link_weights(source: str, target: str) -> None:
    """Weights are large, and are only ever replaced; other files are written to."""
    (os.link if source.endswith(".pth") else shutil.copy2)(source, target)


def _settle(patch: pytest.MonkeyPatch, root: Path) -> None:
    patch.chdir(root)
    patch.setattr(os, "sched_getaffinity", lambda _: {0})  # more processes take longer to start than to work
    patch.setattr(build, "WIDTHS", (8, 16, 32, 64))  # of the backbone, where most of the weights are
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)


class Session:
    """A shell in the folder, as far as the pages need one."""

    def __init__(self, page: Path, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.page, self.root, self._patch = page, root, patch

    def do(self, block: Block) -> None:
        if block.title:
            path = self.root / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        if block.language in SHELL:
            for command in commands(block):
                self._command(command)
        elif block.language == "python":
            code = compile(block.text, f"{self.page}:{block.line}", "exec")
            if not reason(("python", *block.text.split())):
                exec(code, {"__name__": "__main__"})

    def _command(self, command: Command) -> None:
        passed = b""
        for stage in command.stages:
            if reason(stage):
                if "faceparse" in stage:
                    parse(stage[stage.index("faceparse") :])
                continue
            words = tuple(map(self._resolved, stage))
            if words[0] == "faceparse":
                parse(words)
                self._faceparse(command, words[1:], passed)
            elif words[0] in PROGRAMS:
                passed = subprocess.run(words, input=passed, capture_output=True, check=True, timeout=60).stdout
            else:
                pytest.fail(f"{self.page.name}:{command.line}: {words[0]!r} is neither run nor in NOT_RUN")

    def _resolved(self, word: str) -> str:
        """`<run>`, `<sweep>`, `<folds>` and `<curve>` are the newest there."""
        if not (name := re.search(r"<(run|sweep|folds|curve)>", word)):
            return word
        start = "2" if name[1] == "run" else f"{name[1]}-"
        found = (self.root / word[: name.start()]).glob(f"{start}*")
        return word.replace(name[0], max(found, key=lambda path: path.stat().st_mtime_ns).name)

    def _faceparse(self, command: Command, arguments: tuple[str, ...], stdin: bytes) -> None:
        if arguments[0] == "prepare":  # the folder may hold what the page is about to make
            made = [word for word in arguments if word.startswith("dataset/")][-1]
            shutil.rmtree(self.root / made, ignore_errors=True)
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.run(list(arguments))
        assert code == 0, f"{self.page.name}:{command.line}: exit code {code} of: {command.text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_page_shows_works(
    page: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: Path
) -> None:
    shown = list(blocks(page.read_text("utf-8")))
    if not any(block.language in SHELL | {"python"} for block in shown):
        return
    root = tmp_path / "world"
    shutil.copytree(request.getfixturevalue("world"), root, copy_function=_link_weights)
    _settle(monkeypatch, root)
    session = Session(page, root, monkeypatch)
    for block in shown:
        session.do(block)


def program_texts() -> list[re.Pattern[str]]:
    """What the program can say: each text of its source with something in it, in whose gaps anything may stand."""
    texts = []
    for path in (ROOT / "faceparse").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(one.value) if isinstance(one, ast.Constant) else None for one in node.values]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = [node.value]
            else:
                continue
            if sum(len(part or "") for part in parts) >= 15:
                texts.append(re.compile("".join(".+?" if part is None else re.escape(part) for part in parts)))
    return texts


def test_error_lines_are_what_the_program_says() -> None:
    texts = program_texts()
    lines = [
        (page, line)
        for page in PAGES
        for block in blocks(page.read_text("utf-8"))
        if block.language == "text"
        for line in block.text.splitlines()
        if line.startswith(("error: ", "warning: "))
    ]
    assert len(lines) > 20
    for page, line in lines:
        assert any(text.search(line) for text in texts), f"{page.name}: nothing in faceparse says: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_named_in_the_text_exists(page: Path) -> None:
    """Commands in backquotes with their options, and settings."""
    sections = {key.split(".")[0] for key in keys()}
    for number, text in inline(page.read_text("utf-8")):
        where = f"{page.name}:{number}: {text}"
        if text.startswith("faceparse "):
            command: Any = typer.main.get_command(cli.app)
            words = text.split()[1:]
            while hasattr(command, "commands") and words and not words[0].startswith("-"):
                assert words[0].isupper() or words[0] in command.commands, where
                command = command.commands.get(words.pop(0), command)
            known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
            assert {word for word in words if re.match(r"--?[a-z]", word)} <= known, where
        if (
            re.fullmatch(rf"({'|'.join(sections)})\.[a-z_]+(=.*| = .*)?", text)
            and text not in FILES_NAMED_LIKE_SETTINGS
        ):
            assert re.split(r" ?=", text)[0] in keys(), where


def test_blocks_of_data_are_what_they_say() -> None:
    read = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}
    for page in PAGES:
        for block in blocks(page.read_text("utf-8")):
            assert block.language in SHELL | {"python", "text", *read}, f"{page.name}:{block.line}: {block.language}?"
            if block.language in read:
                read[block.language](block.text)
            if block.language == "text":
                shown = [line for line in block.text.splitlines() if line.startswith(("faceparse ", "$ "))]
                assert not shown, f"{page.name}:{block.line}: a command in a block of text is not run; call it sh"


def test_every_reason_is_needed() -> None:
    every = [block for page in PAGES for block in blocks(page.read_text("utf-8"))]
    shown = [stage for block in every if block.language in SHELL for one in commands(block) for stage in one.stages]
    shown += [("python", *block.text.split()) for block in every if block.language == "python"]
    for words in NOT_RUN:
        assert any(fits(words, stage) for stage in shown), f"no page shows {words!r} any more"


# And the test itself: what is wrong in a page does not pass.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("faceparse evaluate best.pth", "no such command"),
        ("faceparse prepare imagenet a dataset/b", "no such command"),
        ("faceparse train --gpus 0 --epoch 3", "No such option: --epoch"),
        ("faceparse train --gpus 0 --epochs three", "valid integer"),
        ("faceparse train --gpus 0 --set train.epoch=3", "no such setting"),
        ("torchrun --nproc-per-node 8 --no-python faceparse train --resum auto", "No such option: --resum"),
        ("faceparse eval nowhere.pth", "exit code 2"),
        ("faceparse ui extra", "extra"),
        ("frobnicate it", "neither run nor in NOT_RUN"),
        ("true && facepars doctor", "neither run nor in NOT_RUN"),
    ],
)
def test_a_command_that_does_not_exist_is_found(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(Path("page.md"), tmp_path, monkeypatch)
    monkeypatch.setattr(sys.modules[__name__], "PROGRAMS", PROGRAMS | {"true"})
    (block,) = blocks(f"# Page\n\n```sh\n{line}\n```\n")
    with pytest.raises((AssertionError, pytest.fail.Exception, typer.TyperException), match=expected):
        session.do(block)


def test_commands_are_read_as_a_shell_reads_them() -> None:
    page = """
Text with `faceparse check A` in it.

- a list

  ```sh
  # a comment
  $ faceparse train 'a b.toml' \\
      --epochs 3   # why
  find a -name '*.jpg' |
    faceparse predict best.pth --from-file -
  make setup && faceparse doctor
  ```

```
no language
```

```toml title="mine.toml"
name = "mine"
```
"""
    first, second, third = blocks(page)
    assert [command.stages for command in commands(first)] == [
        (("faceparse", "train", "a b.toml", "--epochs", "3"),),
        (("find", "a", "-name", "*.jpg"), ("faceparse", "predict", "best.pth", "--from-file", "-")),
        (("make", "setup"),),
        (("faceparse", "doctor"),),
    ]
    assert [command.line for command in commands(first)] == [8, 10, 12, 12]
    assert second.language in SHELL
    assert (third.language, third.title, third.text) == ("toml", "mine.toml", 'name = "mine"\n')
    assert list(inline(page)) == [(2, "faceparse check A")]
    with pytest.raises(ValueError, match="no end"):
        list(blocks("```sh\nfaceparse doctor\n"))
