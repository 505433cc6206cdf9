import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from faceparse.commands.training_display import TrainingDisplay
from faceparse.core.datasets.layout import write_label_set
from faceparse.core.errors import TrainingError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.settings import Settings, load_settings
from faceparse.core.training import launch
from faceparse.core.training.launch import Job
from faceparse.core.training.run import RunResult

Tree = Callable[[], dict[Path, bytes]]
TINY = ["--input-size", "64,64", "--batch-size", 4, "--epochs", 1, "--device", "cpu"]
TINY += ["--set", "model.backbone=mobilenet_v2", "--set", "tracking.enabled=false"]
TINY += ["--set", "data.workers=0", "--set", "tracking.overlays=0"]
PAPER = [*TINY, "--set", "model.backbone=resnet18", "--set", "model.stem=torchvision"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Nothing is trained; the settings that would have been are kept."""
    kept: list[Settings] = []

    def keep(job: Job) -> RunResult:
        kept.append(job.settings)
        run, root = Path("run"), Path("faces")
        return RunResult(run, run / "best.pth", 3, 0.5, "abc", "sqlite:////x.db", "val/f1_mean", root)

    monkeypatch.setattr(launch, "start", keep)
    return kept


def test_without_arguments_it_is_the_papers_helen_recipe(cli: Any, asked: list[Settings]) -> None:
    done = cli("train")
    assert done.code == 0
    assert asked == [Settings()]
    assert done.out.splitlines() == [
        "best epoch 3 (val/f1_mean 0.5000): run/best.pth",
        "next: faceparse eval run/best.pth ; faceparse ui",
    ]


def test_without_a_list_for_test_the_next_command_scores_val(cli: Any, asked: list[Settings]) -> None:
    Path("faces").mkdir()
    Path("faces/val_list.txt").touch()
    assert cli("train").out.splitlines()[-1] == "next: faceparse eval run/best.pth --split val ; faceparse ui"


def test_every_flag_of_the_papers_scripts_does_something(cli: Any, asked: list[Settings]) -> None:
    flags = {
        "--data-dir": ("faces", "data.root", Path("faces")),
        "--learning-rate": ("3e-3", "optim.lr", 3e-3),
        "--weight-decay": ("0.1", "optim.weight_decay", 0.1),
        "--batch-size": ("5", "train.batch_size", 5),
        "--input-size": ("97,65", "data.input_size", (97, 65)),
        "--snapshot-dir": ("snapshots", "train.run_dir", Path("snapshots")),
        "--restore-from": ("weights.pth", "model.pretrained", "weights.pth"),
        "--label-set": ("lapa", "data.label_set", "lapa"),
        "--num-classes": ("11", "data.num_classes", 11),
        "--epochs": ("7", "train.epochs", 7),
        "--random-mirror": (None, "data.random_mirror", True),
        "--no-random-scale": (None, "data.random_scale", False),
        "--device": ("cpu", "train.device", "cpu"),
    }
    for flag, (typed, key, expected) in flags.items():
        assert cli("train", flag, *([] if typed is None else [typed])).code == 0
        section, name = key.split(".")
        found = asked[-1]
        assert getattr(getattr(found, section), name) == expected
        changed = {
            section: getattr(found, section).model_copy(update={name: getattr(getattr(Settings(), section), name)})
        }
        assert found.model_copy(update=changed) == Settings(), flag  # and nothing else


@pytest.mark.parametrize(
    ("typed", "key", "expected"),
    [
        (["--gpus", "1"], "train.device", "cuda:1"),
        (["--gpu", "1"], "train.device", "cuda:1"),
        (["--gpus", "0,1,2,3"], "train.device", "cuda:0,1,2,3"),
        (["--processes", "2"], "launch.processes", 2),
        (["--nodes", "3"], "launch.nodes", 3),
        (["--rendezvous", "node1:29400"], "launch.rendezvous", "node1:29400"),
        (["--max-restarts", "0"], "launch.max_restarts", 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_where_it_runs_is_chosen(cli: Any, asked: list[Settings], typed: list[str], key: str, expected: object) -> None:
    assert cli("train", *typed).code == 0
    section, name = key.split(".")
    assert getattr(getattr(asked[-1], section), name) == expected


def test_what_is_typed_beats_the_environment_beats_the_file_beats_the_default(
    cli: Any, asked: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("experiment.toml").write_text("[train]\nepochs = 3\nbatch_size = 3\nseed = 3\n[optim]\nlr = 1e-3\n")
    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCHS", "4")
    monkeypatch.setenv("FACEPARSE_TRAIN__BATCH_SIZE", "4")
    assert cli("train", "experiment.toml", "--epochs", 5, "--set", "optim.momentum=0.5").code == 0
    found = asked[-1]
    assert (found.train.epochs, found.train.batch_size, found.train.seed) == (5, 4, 3)
    assert (found.optim.lr, found.optim.momentum, found.optim.weight_decay) == (1e-3, 0.5, 5e-4)


# What is refused


def write_experiment(text: str) -> str:
    Path("experiment.toml").write_text(text)
    return "experiment.toml"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "train.epoch=3"], "option: unknown setting 'train.epoch'; did you mean 'train.epochs'?"),
        (["--set", "trian.epochs=3"], "option: unknown setting 'trian'; did you mean 'train'?"),
        (["--set", "epochs=3"], "epochs: a setting is written section.key; did you mean 'train.epochs'?"),
        (["--set", "train.epochs"], "--set 'train.epochs': write section.key=value, such as --set train.epochs=50"),
        (["--set", "train.epochs=0"], "option: train.epochs = '0': input should be greater than 0"),
        (["--set", "optim.lr=nan"], "option: optim.lr = 'nan': input should be "),
        (["--batch-size", "1"], "option: train.batch_size = 1: input should be greater than or equal to 2"),
        (["--input-size", "64"], "option: data.input_size = ('64',): too few values"),
        (["--learning-rate", "fast"], "Invalid value for '--learning-rate': "),
        (["--label-set", "helem"], "label set 'helem' is not built in; did you mean 'helen'?"),
        (["--num-classes", "12"], "data.num_classes = 12, but label set 'helen' of "),
        (["nothing.toml"], "nothing.toml: no such experiment file; see experiments/ for examples"),
        (["--resume", "nowhere"], "nowhere: not a run directory (no settings.toml in it); one is runs/<experiment>/"),
        (["--resume", "run", "--epochs", "3"], "run: not a run directory (no settings.toml in it); one is runs/"),
        (["--resume", "run", "--epochs", "0"], "run: not a run directory (no settings.toml in it); one is runs/"),
        (["--resume", "run", "--batch-size", "3"], "--resume goes on with the run's own settings; drop the other opti"),
        (["--gpus", "0,1"], "GPU 0 was asked for, but there is no GPU here; use --device cpu"),
        (["--processes", "0"], "option: launch.processes = 0: input should be greater than 0"),
        (
            ["--processes", "2", "--gpus", "0"],
            "launch.processes = 2 and train.device = 'cuda:0': processes are counted on CPUs only",
        ),
        (["--device", "mps"], "device 'mps': this torch finds no GPU of Apple's here; use --device cpu"),
        (["--processes", "2", "--device", "mps"], "train.device = 'mps': it takes one training process; leave"),
        (["--nodes", "2"], "launch.nodes = 2: say where they meet, such as --rendezvous host:29400"),
        (["--rendezvous", "host"], "option: launch.rendezvous = 'host': Where the machines meet, host:port of one"),
        (["--set", "speed.precision=fp16"], "speed.precision = 'fp16': needs a GPU; use bf16 or fp32 on a CPU"),
        (["--device", "gpu"], "option: train.device = 'gpu': "),
        (["--gpus", "x"], "--gpus 'x': write GPU numbers, such as --gpus 0"),
        (["--gpus", "0", "--device", "cpu"], "--gpus and --device: give one of them"),
        (["--restore-from", "nothing.pth"], "nothing.pth: no such checkpoint file"),
        (["--epochs"], "Option '--epochs' requires an argument."),
        (["--epoch", "3"], "No such option: --epoch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused_in_one_line(
    cli: Any, faces: Path, tree: Tree, arguments: list[str], expected: str
) -> None:
    options = [] if "--resume" in arguments else ["--data-dir", faces]
    assert cli("train", *options, *arguments).message.startswith(expected)
    assert tree() == {}


def test_a_bad_experiment_file_is_named_with_its_key(cli: Any, faces: Path) -> None:
    for text, expected in (
        ("[train]\nepoch = 3", "unknown setting 'train.epoch'; did you mean 'train.epochs'?"),
        ("[train]\nepochs = 'many'", "train.epochs = 'many': input should be a valid integer"),
        ("[trian]\nepochs = 3", "unknown setting 'trian'; did you mean 'train'?"),
        ("epochs 3", "not valid TOML: "),
    ):
        message = cli("train", write_experiment(text), "--data-dir", faces).message
        assert message.startswith(f"experiment.toml: {expected}")
    assert [path.name for path in Path().iterdir()] == ["experiment.toml"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FACEPARSE_TRAIN__EPOCH", "3", "environment: unknown setting 'train.epoch'; did you mean 'train.epochs'?"),
        ("FACEPARSE_TRIAN__EPOCHS", "3", "environment: unknown setting FACEPARSE_TRIAN__EPOCHS; did you mean 'train'?"),
        ("FACEPARSE_TRAIN__EPOCHS", "many", "environment: train.epochs = 'many': input should be a valid integer"),
    ],
)
def test_a_bad_environment_is_named_with_its_variable(
    cli: Any, faces: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    assert cli("train", "--data-dir", faces).message.startswith(expected)
    assert tree() == {}


def test_gpus_that_are_not_there_are_named(cli: Any, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = "GPU 7 was asked for, but there is no GPU here; use --device cpu, or see 'faceparse doctor'"
    assert cli("train", "--gpus", 7).message == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    expected = "GPU 7 was asked for, but GPUs here: 0, 1; use --device cpu, or see 'faceparse doctor'"
    assert cli("train", "--gpus", "0,7").message == expected
    assert tree() == {}


def test_a_missing_dataset_is_named_with_the_way_to_it(cli: Any, tree: Tree) -> None:
    expected = "nowhere: no such dataset folder; make it with 'faceparse prepare' or give --data-dir"
    assert cli("train", "--data-dir", "nowhere").message == expected
    assert tree() == {}


def outside(root: Path) -> str:
    os.link(root / "images" / first_image(root), root.parent / "secret.jpg")
    return "images/../../secret.jpg"


def absolute(root: Path) -> str:
    return str(root / "images" / first_image(root))


def missing(root: Path) -> str:
    return "images/missing.jpg"


def first_image(root: Path) -> str:
    return Path((root / "train_list.txt").read_text().split()[0]).name


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (outside, "lies outside the dataset folder; copy the file into it"),
        (absolute, "lies outside the dataset folder; copy the file into it"),
        (missing, "is missing; fix the list or add the file"),
    ],
)
def test_a_list_names_files_of_the_dataset_alone(
    cli: Any, own_faces: Path, tree: Tree, field: Callable[[Path], str], expected: str
) -> None:
    path = own_faces / "train_list.txt"
    lines = path.read_text().splitlines()
    lines[4] = f"{field(own_faces)} {lines[4].split()[1]}"
    path.write_text("\n".join(lines))
    before = tree()
    message = cli("train", "--data-dir", own_faces, *TINY).message
    assert message.startswith(f"{path}:5: ")
    assert message.endswith(expected)
    assert tree() == before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_label_with_an_unknown_value_is_named_while_training(
    faceparse: Callable[..., "subprocess.CompletedProcess[str]"], own_faces: Path, workers: int, tmp_path: Path
) -> None:
    name = (own_faces / "train_list.txt").read_text().split()[-1]
    label = cv2.imread(str(own_faces / name), cv2.IMREAD_UNCHANGED)
    assert label is not None
    label[3, 5] = 37
    cv2.imwrite(str(own_faces / name), label)
    options = [*TINY, "--set", f"data.workers={workers}", "--snapshot-dir", tmp_path / "run"]
    done = faceparse("train", "--data-dir", own_faces, *options)
    *messages, last = done.stderr.splitlines()
    assert done.returncode == 2
    assert last == (
        f"error: {own_faces / name}: value 37 is not one of the 11 classes (0 to 10, 255 ignored); "
        "fix the label or name its label set with --label-set"
    )
    where, what, on_what, how = (line.split()[0] for line in messages)
    assert (where, what, on_what, how) == ("run", "mobilenet_v2", "12", "decoded")
    assert done.stdout == ""
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_checkpoint_of_other_classes_starts_training_and_says_what_came_from_where(
    cli: Any, trained: RunResult, own_faces: Path
) -> None:
    table = np.array([0, 2, 1, 1, 3, 3, 5, 4, 4, 4, 1], np.uint8)
    for path in (own_faces / "labels").glob("*.png"):
        path.write_bytes(encode_png(table[read_label(path)]))
    write_label_set(own_faces, get_label_set("fasseg"))
    options = [*PAPER, "--restore-from", trained.best, "--snapshot-dir", "run", "--epochs", "2", "--freeze", "1"]
    done = cli("train", "--data-dir", own_faces, *options)
    assert done.code == 0
    assert "known: background, skin, nose; mapped: hair from hair + left_brow + right_brow, eyes from" in done.err
    before, after = (read_checkpoint(path).weights for path in (trained.best, Path("run/last.pth")))
    first = "backbone.stem.0.conv.weight"
    assert not torch.equal(before[first], after[first])  # it was trained in the second epoch


def test_a_frozen_backbone_stays_as_it_is(cli: Any, trained: RunResult, faces: Path) -> None:
    options = [*PAPER, "--restore-from", trained.best, "--snapshot-dir", "run", "--freeze", "backbone"]
    assert cli("train", "--data-dir", faces, *options).code == 0
    before, after = (read_checkpoint(path).weights for path in (trained.best, Path("run/last.pth")))
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert {key for key in before if key.startswith("backbone.")} <= same
    assert "decoder.classify.weight" not in same
    message = cli("train", "--data-dir", faces, *PAPER, "--freeze", "backbone").message
    assert "needs weights to start from; name them as model.pretrained (--restore-from)" in message


def test_a_mapping_file_says_which_class_becomes_which(cli: Any, trained: RunResult, faces: Path) -> None:
    Path("map.toml").write_text('hair = ["skin"]\nskin = ["hair"]\nbeard = ["nose"]')
    options = [*PAPER, "--restore-from", trained.best, "--mapping", "map.toml", "--snapshot-dir", "run"]
    message = cli("train", "--data-dir", faces, *options).message
    assert message.startswith("map.toml: 'beard' is no class of helen")
    assert not Path("run").exists()


def test_a_truncated_checkpoint_is_refused(cli: Any, trained: RunResult, faces: Path, tree: Tree) -> None:
    Path("cut.pth").write_bytes(trained.best.read_bytes()[:1_000_000])
    before = tree()
    message = cli("train", "--data-dir", faces, *PAPER, "--restore-from", "cut.pth", "--snapshot-dir", "run").message
    assert message.startswith("cut.pth: truncated or damaged (")
    assert tree() == before


def test_imagenets_weights_that_cannot_be_had_are_one_line_and_no_run(
    cli: Any, offline: Path, faces: Path, tree: Tree
) -> None:
    message = cli("train", "--data-dir", faces, *PAPER, "--restore-from", "imagenet", "--snapshot-dir", "run").message
    assert message == (
        f"resnet18-f37072fd.pth is not in {offline}, and https://download.pytorch.org/models/resnet18-f37072fd.pth "
        "cannot be had ([Errno 111] Connection refused); put the file there, or set model.pretrained to a weights file "
        "or none"
    )
    assert tree() == {}
    assert not Path("run").exists()


def test_a_command_starts_from_imagenet(cli: Any, imagenet: Path, faces: Path) -> None:
    done = cli("train", "--data-dir", faces, *PAPER, "--restore-from", "imagenet", "--snapshot-dir", "run")
    assert done.code == 0
    assert done.err.startswith("imagenet: ResNet backbone with a 7x7 stem: 120 tensors loaded, ")


def test_a_file_named_imagenet_is_written_with_its_folder(cli: Any, faces: Path, offline: Path) -> None:
    message = cli("train", "--data-dir", faces, *PAPER, "--restore-from", "./imagenet").message
    assert message.startswith("imagenet: no such checkpoint file")


@pytest.mark.parametrize("place", ["file", "file/run", "/proc/run"])
def test_a_place_that_cannot_be_written_is_named(cli: Any, faces: Path, tree: Tree, place: str) -> None:
    Path("file").write_text("mine")
    before = tree()
    message = cli("train", "--data-dir", faces, *TINY, "--snapshot-dir", place).message
    assert message.startswith(f"cannot write {place}: ")
    assert message.endswith("choose another place")
    assert tree() == before


def test_a_run_that_is_there_is_refused(cli: Any, trained: RunResult, faces: Path) -> None:
    before = (trained.run_dir / "settings.toml").read_bytes()
    message = cli("train", "--data-dir", faces, *TINY, "--snapshot-dir", trained.run_dir).message
    assert message.startswith(f"{trained.run_dir}: already holds a run; go on with it by --resume {trained.run_dir}")
    assert (trained.run_dir / "settings.toml").read_bytes() == before


def test_a_finished_run_goes_on_by_its_number_of_epochs(cli: Any, trained: RunResult, tmp_path: Path) -> None:
    run = shutil.copytree(trained.run_dir, tmp_path / "run")
    assert (
        cli("train", "--resume", run, "--epochs", 0).message
        == "option: train.epochs = 0: input should be greater than 0"
    )
    done = cli("train", "--resume", run, "--epochs", 2)
    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("epoch 2/2: loss ")
    assert load_settings(run / "settings.toml").train.epochs == 2
    done = cli("train", "--resume", run)
    assert f"{run} is finished, all 2 epochs; nothing is left to train." in " ".join(done.err.split())


def test_training_that_must_stop_is_one_line(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("the loss is no longer finite\nat iteration 3")

    monkeypatch.setattr(launch, "start", fail)
    assert cli("train").message == "the loss is no longer finite at iteration 3"


# The real thing


def test_a_run_from_the_command_line_is_interrupted_and_resumed(
    cli: Any, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: TrainingDisplay, epoch: int, metrics: object, best: bool, metric: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrainingDisplay, "epoch_finished", interrupt)
        done = cli("train", "--data-dir", faces, *TINY, "--epochs", 2, "--snapshot-dir", "[bold]run")
    assert (done.code, done.out) == (130, "")
    assert "run directory [bold]run" in done.err.splitlines()
    assert "Traceback" not in done.err
    run = Path("[bold]run")
    settings = load_settings(run / "settings.toml")
    assert (settings.data.root, settings.train.epochs, settings.tracking.enabled) == (faces, 2, False)

    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCHS", "9")  # a run keeps the settings that it was started with
    done = cli("train", "--resume", run)
    assert done.code == 0
    assert "resumed after epoch 1" in done.err.splitlines()
    assert done.err.splitlines()[-1].startswith("epoch 2/2: loss ")
    assert done.out.splitlines()[0].endswith("): [bold]run/best.pth")
    assert done.out.splitlines()[1:] == ["next: faceparse eval [bold]run/best.pth"]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert np.isfinite(float(done.out.split("(")[1].split(")")[0].removeprefix("val/f1_merged/overall ")))
