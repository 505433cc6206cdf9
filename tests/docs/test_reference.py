"""The reference is complete, is the code's, and is refused where something has no description."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
from mkdocs.exceptions import PluginError

import faceparse
from faceparse.cli import app
from faceparse.core.labels.label_set import builtin_label_sets
from faceparse.core.settings import Settings, keys
from tests.docs.shown import ROOT

HOOK = ROOT / "docs" / "_hooks" / "reference.py"


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", HOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_gets_what_its_marker_asks_for(hook: ModuleType) -> None:
    pages = [path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")]
    markers = [name for text in pages for name in re.findall(r"<!-- (\w+) -->", text)]
    assert sorted(markers) == sorted(hook.FILL)
    assert "<!--" not in hook.on_page_markdown("".join(pages))


def test_every_option_of_every_command_is_there(hook: ModuleType) -> None:
    text = hook.commands()
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        for source, leaf in getattr(command, "commands", {"": command}).items():
            heading = f"faceparse {name} {source}".strip()
            part = re.split(r"^##+ ", text.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
            for parameter in leaf.params:
                option = parameter.opts[0].startswith("-")
                shown = parameter.opts[0] if option else f"<code>{parameter.metavar or parameter.opts[0]}"
                assert shown in part, f"{heading}: {shown}"
    assert "[`optim.lr`](settings.md#optim.lr)" in text
    assert "edges/&lt;id&gt;.png" in text


def test_every_setting_is_there_with_its_names(hook: ModuleType) -> None:
    text = hook.setting_keys()
    assert re.findall(r"^### (\S+) \{ #\1 \}$", text, re.MULTILINE) == list(keys())
    part = text.partition("### data.input_size ")[2].partition("###")[0]
    assert "Height and width" in part
    assert "each integer ≥ 32, ≤ 8192 · default `473, 473` · `--input-size` · `FACEPARSE_DATA__INPUT_SIZE`" in part
    assert "number > 0 · default `0.001` · `--learning-rate`" in text
    assert "`val`, `test` · default `val`" in text


def test_options_give_the_settings_that_the_reference_says(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option of `train` is typed, and the setting that it is said to give is the one that is looked at."""
    from faceparse.core import settings

    root: Any = typer.main.get_command(app)
    typed = {"num_classes": "5", "device": "cpu", "gpus": "3", "epochs": "5", "learning_rate": "5", "processes": "5"}
    typed |= {"nodes": "5", "max_restarts": "5", "batch_size": "5", "weight_decay": "5", "input_size": "96,96"}
    given: dict[str, Any] = {}

    def load(_: Path | None, options: dict[str, Any]) -> Settings:
        given.update(options)
        raise LookupError

    monkeypatch.setattr(settings, "load_settings", load)
    for parameter in root.commands["train"].params:
        if key := hook.option_settings().get(parameter.name):
            given.clear()
            words = [parameter.opts[0], *([] if parameter.is_flag else [typed.get(parameter.name, "some:5")])]
            with pytest.raises(LookupError):
                root.main(["train", *words], standalone_mode=False)
            assert list(given) == [key]


def test_python_has_what_the_package_offers(hook: ModuleType) -> None:
    text = hook.python()
    for name in ("load", "FaceParser.predict", "FaceParser.label_set", "Result.labels", "Result.probabilities"):
        assert f"{{ #faceparse.{name} }}" in text
        assert name.split(".")[0] in faceparse.__all__
    assert "_logits" not in text
    assert "- `CheckpointError`: there is no model, it is damaged, not trusted, or it cannot be fetched." in text


def test_every_class_has_its_colour(hook: ModuleType) -> None:
    text = hook.label_sets()
    for name, one in builtin_label_sets().items():
        part = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for i, (label, colour) in enumerate(one.classes.items()):
            assert f"| {i} | `{label}` |" in part
            assert f"background:{colour}" in part
    assert re.search(r"`l_eye` .*`r_eye` \|", text)


@pytest.mark.parametrize("what", ["setting", "option"])
def test_what_nobody_described_is_refused(hook: ModuleType, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "setting":
        monkeypatch.setattr(keys()["optim.lr"], "description", None)
        with pytest.raises(PluginError, match=r"optim.lr: has no description; write one"):
            hook.setting_keys()
    else:
        bare = typer.Typer()
        bare.command()(lambda fast: None)
        bare.command("other", help="Something.")(lambda slow: None)
        monkeypatch.setattr(hook, "app", bare)
        with pytest.raises(PluginError, match="has no description; write one"):
            hook.commands()


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<img src=//example/x.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
    ],
)
def test_a_page_that_fetches_from_elsewhere_is_refused(hook: ModuleType, tag: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    fine = (
        '<script src="assets/x.js"></script><a href="https://example.com">there</a><link rel="stylesheet" href="a.css">'
    )
    assert hook.on_post_page(fine, page=page) == fine
    with pytest.raises(PluginError, match=r"page.md: fetches something from elsewhere"):
        hook.on_post_page(fine + tag, page=page)
