"""The reference is complete, is the code's, and is refused where something has no description."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import faceparse
from faceparse.cli import app
from faceparse.core.labels.label_set import builtin_label_sets
from faceparse.core.settings import Settings, keys
from tests.docs.shown import ROOT
from tools import reference


def test_every_page_gets_what_its_marker_asks_for() -> None:
    pages = [path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")]
    markers = [name for text in pages for name in re.findall(r"<!-- (\w+) -->", text)]
    assert sorted(markers) == sorted(reference.FILL)
    assert "<!--" not in reference.filled("".join(pages), "page.md")


def test_every_option_of_every_command_is_there() -> None:
    text = reference.commands()
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


def test_every_setting_is_there_with_its_names() -> None:
    text = reference.setting_keys()
    assert re.findall(r"^### (\S+) \{ #\1 \}$", text, re.MULTILINE) == list(keys())
    part = text.partition("### data.input_size ")[2].partition("###")[0]
    assert "Height and width" in part
    assert "each integer ≥ 32, ≤ 2048 · default `473, 473` · `--input-size` · `FACEPARSE_DATA__INPUT_SIZE`" in part
    assert "number > 0 · default `0.001` · `--learning-rate`" in text
    assert "`val`, `test` · default `val`" in text


def test_options_give_the_settings_that_the_reference_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option of `train` is typed, and the setting that it is said to give is the one that is looked at."""
    from faceparse.core.training import options

    root: Any = typer.main.get_command(app)
    typed = {"num_classes": "5", "device": "cpu", "gpus": "3", "epochs": "5", "learning_rate": "5", "processes": "5"}
    typed |= {
        "nodes": "5",
        "folds": "5",
        "max_restarts": "5",
        "batch_size": "5",
        "weight_decay": "5",
        "input_size": "96,96",
    }
    given: dict[str, Any] = {}

    def load(_: Path | None, chosen: dict[str, Any]) -> Settings:
        given.update(chosen)
        raise LookupError

    monkeypatch.setattr(options, "settings_from", load)
    for parameter in root.commands["train"].params:
        if key := reference.option_settings().get(parameter.name):
            given.clear()
            words = [parameter.opts[0], *([] if parameter.is_flag else [typed.get(parameter.name, "some:5")])]
            with pytest.raises(LookupError):
                root.main(["train", *words], standalone_mode=False)
            assert list(given) == [key]


def test_python_has_what_the_package_offers() -> None:
    text = reference.python()
    for name in ("load", "FaceParser.predict", "FaceParser.label_set", "Result.labels", "Result.probabilities"):
        assert f"{{ #faceparse.{name} }}" in text
        assert name.split(".")[0] in faceparse.__all__
    assert "_logits" not in text
    assert "- `CheckpointError`: there is no model, it is damaged, not trusted, or it cannot be fetched." in text


def test_every_class_has_its_colour() -> None:
    text = reference.label_sets()
    for name, one in builtin_label_sets().items():
        part = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for i, (label, colour) in enumerate(one.classes.items()):
            assert f"| {i} | `{label}` |" in part
            assert f"background:{colour}" in part
    assert re.search(r"`l_eye` .*`r_eye` \|", text)


@pytest.mark.parametrize("what", ["setting", "option"])
def test_what_nobody_described_is_refused(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "setting":
        monkeypatch.setattr(keys()["optim.lr"], "description", None)
        with pytest.raises(reference.PageError, match=r"optim.lr: has no description; write one"):
            reference.setting_keys()
    else:
        bare = typer.Typer()
        bare.command()(lambda fast: None)
        bare.command("other", help="Something.")(lambda slow: None)
        monkeypatch.setattr(reference, "app", bare)
        with pytest.raises(reference.PageError, match="has no description; write one"):
            reference.commands()


def test_what_a_page_asks_for_in_vain_is_named() -> None:
    with pytest.raises(
        reference.PageError, match=r"page.md: nothing takes the place of <!-- optoins -->; there is comm"
    ):
        reference.filled("<!-- optoins -->", "page.md")


def test_the_written_pages_are_those_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reference.FILL, "commands", lambda: "filled in")
    docs, pages = tmp_path / "docs", tmp_path / "build" / "docs"
    (docs / "reference").mkdir(parents=True)
    (docs / "a.jpg").write_bytes(b"\xff")
    (docs / "home.md").write_text("# Home\n")
    (docs / "reference" / "commands.md").write_text("# Commands\n\n<!-- commands -->\n")
    reference.write(docs, pages)
    assert (pages / "a.jpg").read_bytes() == b"\xff"
    assert (pages / "reference" / "commands.md").read_text() == "# Commands\n\nfilled in\n"
    before = (pages / "home.md").stat().st_mtime_ns
    (docs / "a.jpg").unlink()
    (docs / "reference" / "commands.md").write_text("# Commands\n")
    reference.write(docs, pages)
    assert not (pages / "a.jpg").exists()
    assert (pages / "reference" / "commands.md").read_text() == "# Commands\n"
    assert (pages / "home.md").stat().st_mtime_ns == before


def test_pages_follow_while_a_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "home.md").write_text("before")
    written = tmp_path / "written"
    monkeypatch.setattr(reference, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").touch()
    (tmp_path / "tools" / "reference.py").write_text(f"open({str(written)!r}, 'w')")
    waits = f"""
import pathlib, time
time.sleep(1)
pathlib.Path({str(tmp_path / "docs" / "home.md")!r}).write_text("after")
while not pathlib.Path({str(written)!r}).exists():
    time.sleep(0.1)
raise SystemExit(3)
"""
    assert reference.write_during([sys.executable, "-c", waits]) == 3


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(keys()["optim.lr"], "description", None)
    assert reference.main() == 1
    assert capsys.readouterr().err == "error: optim.lr: has no description; write one beside it in the code\n"
