"""The commands' work as Python functions: the same numbers, nothing printed, and mistakes named in one line."""

import inspect
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import faceparse as package
from faceparse import cli
from faceparse.commands import edges, evaluate, train
from faceparse.core.errors import CheckpointError, DatasetError, DeviceError, FaceparseError, SettingsError
from faceparse.core.settings import load_settings
from faceparse.core.training.run import RunResult
from tests.conftest import TINY, Silent

UNTRACKED = TINY | {"tracking.enabled": False}


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints hold the same, all tensors to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, faceparse; print(*dir(faceparse), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    words = set(done.stdout.split())
    assert {"load", "train", "evaluate", "prepare", "edges"} <= words
    assert not words & {"torch", "numpy", "mlflow", "rich", "pydantic", "cv2"}


def test_every_offered_name_is_there() -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evaluates'"):
        _ = package.evaluates


def test_the_functions_have_the_commands_options() -> None:
    """But those of several runs or processes, of what is printed, and those that Python has in another form."""
    many = {"gpus", "processes", "nodes", "rendezvous", "max_restarts"}
    for command, function, without in (
        (evaluate.evaluate, package.evaluate, {"checkpoints", "gpus", "as_json"}),
        (train.train, package.train, many | {"experiment", "set_", "profile", "folds"}),
        (edges.edges, package.edges, set[str]()),
    ):
        options = set(inspect.signature(command).parameters)
        assert without <= options
        assert options - without <= set(inspect.signature(function).parameters)


def test_a_training_gives_the_commands_checkpoint(
    faces: Path,
    trained: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """To the bit, twice in one process, and without a word or a change of the caller's random numbers."""
    settings = UNTRACKED | {"data.root": faces, "data.random_mirror": True}
    (tmp_path / "settings.toml").write_text("[data]\nrandom_mirror = true\n[tracking]\nenabled = false\n")
    written = [
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}" for key, value in TINY.items()
    ]
    words = [word for one in written for word in ("--set", one)]
    for folder in ("command", "first", "second"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "command")
    assert cli.run(["train", "../settings.toml", "--data-dir", str(faces), "--snapshot-dir", "run", *words]) == 0
    expected = torch.load("run/best.pth", weights_only=True)
    assert not same(expected, torch.load(trained.best, weights_only=True))  # which was not mirrored
    capfd.readouterr()
    for folder in ("first", "second"):
        monkeypatch.chdir(tmp_path / folder)
        torch.manual_seed(3)
        torch.rand(2)
        state = torch.get_rng_state()
        result = package.train(settings, snapshot_dir="run")
        assert torch.equal(torch.get_rng_state(), state)
        assert result.best == Path("run/best.pth")
        assert same(torch.load(result.best, weights_only=True), expected)
    assert capfd.readouterr() == ("", "")


def test_a_training_runs_beside_the_main_thread_and_tells_its_observer(faces: Path, tmp_path: Path) -> None:
    seen, done = Silent(), []

    def work() -> None:
        nested = {"data": {"root": faces}}
        done.append(package.train(UNTRACKED | nested, snapshot_dir=tmp_path / "run", progress=seen))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [epoch for epoch, *_ in seen.epochs] == [done[0].best_epoch]
    again = package.train(resume=tmp_path / "run")
    assert (again.best, again.best_epoch) == (done[0].best, done[0].best_epoch)


def test_folds_are_trained_in_python_too(faces: Path, tmp_path: Path) -> None:
    settings, folder = UNTRACKED | {"data.root": faces}, tmp_path / "folds"
    with pytest.raises(SettingsError, match="^train_folds: say how many folds"):
        package.train_folds(settings)
    result = package.train_folds(settings, 2, snapshot_dir=folder)
    assert [trial.state for trial in result.trials] == ["finished", "finished"]
    assert len(result.evaluation.ids) == 14
    assert package.load(result.path, device="cpu").label_set.name == "helen"
    again = package.train_folds(resume=folder)
    assert again.evaluation.scores == result.evaluation.scores
    with pytest.raises(SettingsError, match="^resume goes on with the folds' own settings"):
        package.train_folds(settings, resume=folder)


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Worker processes do not run it again, and what it is told of meanwhile may be sent elsewhere."""
    (tmp_path / "script.py").write_text(
        "import pickle\nimport faceparse\nprint('once')\n"
        "class Mine: pass\n"
        "def progress(items, total, what):\n"
        "    for item in items:\n"
        "        pickle.dumps(Mine())\n"
        "        yield item\n"
        "print(faceparse.prepare('synthetic', 'drawn', count=4, size=32, processes=2, progress=progress))\n"
        "print(faceparse.edges('drawn', processes=2, progress=progress))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "once",
        "<PrepareReport: 2 train, 1 val, 1 test; 11 classes of helen; 4 prepared now>",
        "EdgesReport(made=4, fresh=0)",
    ]


def test_scores_are_the_commands_and_nothing_is_written(
    trained: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["eval", str(trained.best), "--json", "--output", "out", "--bootstrap", "0", "--device", "cpu"]) == 0
    expected = json.loads(capsys.readouterr().out)
    before = contents(trained.run_dir)
    found = package.evaluate(trained.best, device="cpu", bootstrap=0)
    assert found.scores["eagrnet"].mean_f1 == pytest.approx(expected["mean_f1"], abs=1e-12)
    assert repr(found).startswith(f"<Evaluation of {trained.best} on ")
    loaded = package.evaluate(package.load(trained.best, device="cpu"), bootstrap=0, protocol=["eagrnet", "label"])
    assert list(loaded.scores) == ["eagrnet", "label"]
    assert loaded.scores["eagrnet"] == found.scores["eagrnet"]
    assert contents(trained.run_dir) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    package.evaluate(trained.best, device="cpu", bootstrap=0, output=tmp_path / "mine")
    assert (tmp_path / "mine" / "report.html").is_file()


def test_a_crop_that_load_chose_is_the_one_that_is_scored(trained: RunResult) -> None:
    parser = package.load(trained.best, device="cpu", input_size=(96, 96))
    assert package.evaluate(parser, bootstrap=0).input_size == (96, 96)
    assert package.evaluate(parser, bootstrap=0, input_size="64,64").input_size == (64, 64)


def test_other_classes_are_mapped_or_refused(light: Path, faces: Path, tmp_path: Path) -> None:
    mapped = package.evaluate(light, faces, bootstrap=0, device="cpu", worst=0)
    assert mapped.label_set.name == "helen"
    assert mapped.notes
    other = tmp_path / "other.toml"
    other.write_text('name = "other"\nside = "none"\n[classes]\nbackground = "#000000"\nteeth = "#ffffff"\n')
    with pytest.raises(FaceparseError, match="[^-]mapping"):
        package.evaluate(light, faces, bootstrap=0, device="cpu", label_set=str(other))


def test_photographs_of_train_are_told_of(
    own_faces: Path, trained: RunResult, caplog: pytest.LogCaptureFixture
) -> None:
    train = (own_faces / "train_list.txt").read_text().splitlines(keepends=True)
    with (own_faces / "test_list.txt").open("a") as file:
        file.write(train[0])
    with caplog.at_level(logging.WARNING, "faceparse"):
        package.evaluate(trained.best, own_faces, device="cpu", bootstrap=0)
    assert "1 of the 3 photographs" in caplog.text


def test_groups_of_a_file_are_scored_as_the_command_does(
    trained: RunResult, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (faces / "test_list.txt").read_text().split()[::2]
    rows = [f"{Path(name).stem},{'ab'[row]}" for row, name in enumerate(names)]
    (tmp_path / "g.csv").write_text("\n".join(["id,kind", *rows]))
    command = [
        "eval",
        str(trained.best),
        "--groups",
        "g.csv",
        "--json",
        "-o",
        "out",
        "--bootstrap",
        "0",
        "--device",
        "cpu",
    ]
    assert cli.run(command) == 0
    expected = json.loads(capsys.readouterr().out)["groups"]["kind"]
    found = (
        package.evaluate(trained.best, device="cpu", bootstrap=0, groups="g.csv").summaries["eagrnet"].groups["kind"]
    )
    assert [one.group.name for one in found.groups] == ["a", "b"]
    assert [one.scores.mean_f1 for one in found.groups] == pytest.approx(
        [group["mean_f1"] for group in expected["groups"]]
    )
    with pytest.raises(DatasetError, match="nosuch.csv"):
        package.evaluate(trained.best, device="cpu", bootstrap=0, groups="nosuch.csv")


def test_a_prepared_dataset_is_the_commands(tmp_path: Path) -> None:
    words = "prepare synthetic one --count 5 --size 48 --val 0.2 --test 0.2 --seed 3 --processes 1"
    assert cli.run(words.split()) == 0
    seen: list[str] = []

    def track(items: Any, total: int | None, what: str, /) -> Any:
        seen.append(f"{what} {total}")
        return items

    drawn = {"count": 5, "size": 48, "val": 0.2, "test": 0.2, "seed": 3, "processes": 1}
    report = package.prepare("synthetic", "two", progress=track, **drawn)  # type: ignore[arg-type]
    assert report.splits == {"train": 3, "val": 1, "test": 1}
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert seen == ["prepare 5"]


def test_your_own_photographs_are_prepared(faces: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"label_set": "helen", "images": "images/*.jpg", "labels": "labels/*.png"}
    report = package.prepare("folder", faces, tmp_path / "own", val=0.25, test=0.25, processes=1, **options)
    assert report.splits == {"train": 10, "val": 1, "test": 5}
    assert report.label_set.name == "helen"


@pytest.mark.parametrize(
    ("folders", "options", "expected"),
    [
        (("sinthetic", "out"), {}, r"no such source; there is helen, .*did you mean 'synthetic'\?"),
        (("synthetic", "out"), {"cuont": 4}, r"prepare synthetic: has no option 'cuont'; did you mean 'count'\?"),
        (("lapa", "raw", "out"), {"label_set": "lapa"}, "prepare lapa: has no option 'label_set'; it has align, size,"),
        (("folder", "raw", "out"), {}, "prepare folder: needs the option 'label_set'"),
        (("folder", "raw", "out"), {"label_set": "hellen"}, "did you mean 'helen'"),
        (("synthetic", "out"), {"count": 2}, "count = 2: give a whole number, 3 or more"),
        (("synthetic", "out"), {"count": "many"}, "count = 'many': give a whole number"),
        (("synthetic", "out"), {"val": float("nan")}, "val = nan: give a number, 0 to 0.9"),
        (("synthetic", "raw", "out"), {}, "prepare synthetic: name only the folder to write"),
        (("helen", "out"), {}, "prepare helen: name the raw dataset and the folder to write"),
        (("helen",), {}, "prepare helen: name the raw dataset"),
        (("synthetic", ""), {}, "an empty path"),
        (("lapa", "raw", "out"), {"size": 64}, "^size: has no effect without alignment; add align auto"),
        (("lapa", "raw", "out"), {"align": "ears"}, "^align 'ears': not one of"),
    ],
)
def test_mistakes_of_prepare_are_named(
    folders: tuple[str, ...], options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=expected) as error:
        package.prepare(*folders, **options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"train.epoch": 2}, r"unknown setting 'train.epoch'; did you mean 'train.epochs'\?"),
        ({"train": {"epoch": 2}}, "did you mean 'train.epochs'"),
        ({"epochs": 2}, "a setting is written section.key"),
        ({3: 2}, "3: a setting is written section.key"),
        ({"train": {"epochs": 2}, "train.epochs": 3}, "train.epochs is given twice"),
        ("nowhere.toml", "no such experiment file"),
        ("", "an empty path"),
        (7, "settings: a int; give a TOML file, a dict, or settings"),
        ({"launch.processes": 2, "train.device": "cpu"}, "Python trains in one process; use the command"),
        ({"train.device": "cuda:0,1"}, "Python trains in one process"),
    ],
)
def test_mistakes_in_settings_are_named(settings: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=expected):
        package.train(settings)
    assert not list(tmp_path.iterdir())


def test_other_mistakes_are_named(trained: RunResult, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        package.train(UNTRACKED, data_dir="nowhere")
    with pytest.raises(SettingsError, match="^resume goes on with the run's own settings"):
        package.train(resume=trained.run_dir, batch_size=3)
    with pytest.raises(DatasetError, match="nowhere"):
        package.edges("nowhere")
    with pytest.raises(SettingsError, match="processes = 0: give a whole number, 1 or more"):
        package.edges(faces, processes=0)
    with pytest.raises(DatasetError, match="nowhere"):
        package.evaluate(trained.best, "nowhere")
    with pytest.raises(CheckpointError, match="nothing.pth"):
        package.evaluate("nothing.pth")
    with pytest.raises(SettingsError, match="evaluate: a int; give a model's name"):
        package.evaluate(3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="bootstrap = -1: give a whole number, 0 or more"):
        package.evaluate(trained.best, bootstrap=-1)
    with pytest.raises(SettingsError, match="^protocol 'eagrnt'.*did you mean 'eagrnet'"):
        package.evaluate(trained.best, protocol="eagrnt")
    with pytest.raises(SettingsError, match=r"^split 'tset': not one of train, val, test; did you mean 'test'\?$"):
        package.evaluate(trained.best, split="tset")
    for work, name in ((package.train, "epoch"), (package.evaluate, "splits"), (package.load, "devise")):
        with pytest.raises(SettingsError, match=f"^{work.__name__}: has no argument '{name}'; did you mean '"):  # type: ignore[attr-defined]
            work(**{name: 1})  # type: ignore[operator]
    with pytest.raises(DeviceError, match="device 'tpu'"):
        package.evaluate(trained.best, device="tpu")
    assert not list(tmp_path.iterdir())


def test_settings_that_are_whole_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, faces: Path) -> None:
    settings = load_settings(options=UNTRACKED | {"data.root": faces})
    monkeypatch.setenv("FACEPARSE_TRAIN__SEED", "5")
    from faceparse.core.settings import settings_from

    assert settings_from(settings) == settings
    assert settings_from(settings, {"train.epochs": 4}).train.epochs == 4
    assert settings_from({}).train.seed == 5
    assert np.isclose(settings_from({"optim": {"lr": 0.5}}).optim.lr, 0.5)
