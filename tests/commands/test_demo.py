from pathlib import Path
from typing import Any

import pytest

from faceparse import cli as cli_module
from faceparse.core.export.export import Exporter, ExportReport
from faceparse.core.export.verify import Check
from faceparse.core.load import load_model_from
from faceparse.core.machine import parallel

SMALL = ["--input-size", "64,64", "--device", "cpu", "--set", "model.stem=torchvision", "--set", "data.workers=0"]


def test_every_command_of_the_demo_works_and_leaves_its_files(
    cli: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a smaller crop, and without the export, which has tests of its own: those cost a minute."""
    real, ran = cli_module.run, []

    def smaller(arguments: list[str]) -> int:
        ran.append(arguments)
        return real([*arguments, *SMALL] if arguments[0] == "train" else arguments)

    model: Any = load_model_from(bundle)

    def no_export(self: Exporter, name: str, path: Path, *, bundle: bool) -> ExportReport:
        path.write_bytes(b"")
        return ExportReport(name, path, model, 0, (Check(1, 0.0, 1.0),), self.scores)

    monkeypatch.setattr(parallel, "default_processes", lambda: 1)
    monkeypatch.setattr(cli_module, "run", smaller)
    monkeypatch.setattr(Exporter, "export", no_export)
    done = cli("demo", "here", "--count", 20, "--epochs", 1)
    assert done.code == 0, done.err
    assert [arguments[0] for arguments in ran] == ["prepare", "edges", "check", "train", "eval", "predict", "export"]
    shown = [line.split()[2] for line in done.out.splitlines() if line.startswith("$ faceparse ")]
    assert shown == [arguments[0] for arguments in ran]
    assert len(list(Path("here/faces/edges").iterdir())) == 20
    assert {path.suffix for path in Path("here/run").iterdir()} >= {".pth", ".toml", ".jsonl", ".log", ".onnx"}
    assert len(list(Path("here/predictions/overlays").iterdir())) == 20
    assert done.out.splitlines()[-1].endswith("pictures in here/predictions; runs: faceparse ui")


def test_a_command_that_fails_ends_the_demo_with_its_code(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def fail(arguments: list[str]) -> int:
        ran.append(arguments[0])
        return 2 if arguments[0] == "edges" else 0

    monkeypatch.setattr(cli_module, "run", fail)
    assert cli("demo").code == 2
    assert ran == ["prepare", "edges"]


def test_an_earlier_demo_is_not_written_over(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(cli_module, "run", lambda arguments: ran.append(arguments) or 0)
    for folder in ("demo", "demo-2", "demo-3"):
        assert cli("demo").code == 0
        assert folder in ran[0][2]
        assert {argument.split("/")[0] for command in ran for argument in command if "demo" in argument} == {folder}
        Path(folder).mkdir()
        ran.clear()


def test_too_few_faces_are_refused(cli: Any) -> None:
    assert cli("demo", "--count", 3).message.startswith("Invalid value for '--count': ")
