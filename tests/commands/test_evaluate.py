import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient

from faceparse.core.evaluation.protocols import PROTOCOLS
from faceparse.core.evaluation.score_checkpoint import score_checkpoint
from faceparse.core.inference import load_parser
from faceparse.core.labels import get_label_set
from faceparse.core.model.weights import read_checkpoint
from faceparse.core.training.run import RunResult

KEYS = ["checkpoint", "dataset", "split", "protocol", "images", "f1", "iou", "merged_f1"]
KEYS += ["mean_f1", "mean_iou", "pixel_accuracy"]


def test_json_is_one_object_and_nothing_else(cli: Any, trained: RunResult, faces: Path) -> None:
    done = cli("eval", trained.best, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert list(found) == KEYS
    assert (found["checkpoint"], found["dataset"]) == (str(trained.best), str(faces))
    assert (found["split"], found["protocol"], found["images"]) == ("test", "eagrnet", 2)
    expected = score_checkpoint(read_checkpoint(trained.best), device=torch.device("cpu")).scores["eagrnet"]
    assert (found["f1"], found["iou"], found["merged_f1"]) == (expected.f1, expected.iou, expected.merged_f1)
    assert list(found["f1"]) == list(get_label_set("helen").names)
    assert found["pixel_accuracy"] == expected.pixel_accuracy


def test_the_table_shows_the_same_in_percent(cli: Any, trained: RunResult) -> None:
    found = json.loads(cli("eval", trained.best, "--split", "val", "--json").out)
    done = cli("eval", trained.best, "--split", "val")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "faces val, 2 images, protocol eagrnet"
    cells = {row[0]: row[1:] for row in ([cell.strip() for cell in line.strip("│").split("│")] for line in lines[4:-2])}
    for name, f1 in found["f1"].items():
        expected = ["absent"] * 2 if f1 is None else [f"{100 * f1:.2f}", f"{100 * found['iou'][name]:.2f}"]
        assert cells[name] == expected
    assert cells["overall (merged)"] == [f"{100 * found['merged_f1']['overall']:.2f}", ""]
    assert cells["mean without background"] == [f"{100 * found[key]:.2f}" for key in ("mean_f1", "mean_iou")]
    assert lines[-1] == f"logged to MLflow run {trained.run_id}"


def test_scores_stand_in_the_run_that_made_the_checkpoint(cli: Any, trained: RunResult, store: str) -> None:
    found = json.loads(cli("eval", trained.best, "--split", "train", "--protocol", "label", "--json").out)
    (metric,) = MlflowClient(store).get_metric_history(str(trained.run_id), "train.label/pixel_accuracy")
    assert (metric.step, metric.value) == (1, pytest.approx(found["pixel_accuracy"]))


@pytest.fixture
def several(cli: Any, trained: RunResult) -> dict[str, Any]:
    """Each protocol's JSON, scored alone, at a size that sets the protocols apart."""
    arguments = ["eval", trained.best, "--split", "val", "--input-size", "96,64", "--json", "--protocol"]
    return {name: json.loads(cli(*arguments, name).out) for name in ("segface", "farl", "eagrnet")}


SEVERAL = ["--split", "val", "--input-size", "96,64", "--protocol", "segface,farl", "--protocol", "eagrnet,farl"]


def test_several_protocols_are_one_object(
    cli: Any, trained: RunResult, faces: Path, store: str, several: dict[str, Any]
) -> None:
    def logged(protocol: str) -> list[float]:
        name = f"val{'' if protocol == 'eagrnet' else f'.{protocol}'}.96x64/pixel_accuracy"
        return [metric.value for metric in MlflowClient(store).get_metric_history(str(trained.run_id), name)]

    before = {name: logged(name) for name in several}
    done = cli("eval", trained.best, *SEVERAL, "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    found = json.loads(done.out)
    assert list(found) == ["checkpoint", "dataset", "split", "images", "protocols"]
    assert (found["checkpoint"], found["dataset"]) == (str(trained.best), str(faces))
    assert (found["split"], found["images"]) == ("val", 2)
    assert list(found["protocols"]) == ["segface", "farl", "eagrnet"]
    for name, scores in found["protocols"].items():
        assert scores == {key: several[name][key] for key in KEYS[5:]}
        assert logged(name) == [*before[name], pytest.approx(scores["pixel_accuracy"])]
    assert len({scores["pixel_accuracy"] for scores in found["protocols"].values()}) == 3


def test_several_protocols_are_columns_of_f1(cli: Any, trained: RunResult, several: dict[str, Any]) -> None:
    lines = cli("eval", trained.best, *SEVERAL).out.splitlines()
    assert lines[0] == "faces val, 2 images, F1 % by protocol"
    assert [cell.strip() for cell in lines[2].strip("┃").split("┃")] == ["class", "segface", "farl", "eagrnet"]
    cells = {row[0]: row[1:] for row in ([cell.strip() for cell in line.strip("│").split("│")] for line in lines[4:-2])}

    def percent(*keys: str) -> list[str]:
        values = [scores[keys[0]][keys[1]] if keys[1:] else scores[keys[0]] for scores in several.values()]
        return ["absent" if value is None else f"{100 * value:.2f}" for value in values]

    for name in several["farl"]["f1"]:
        assert cells[name] == percent("f1", name)
    assert cells["overall (merged)"] == percent("merged_f1", "overall")
    assert cells["mean without background"] == percent("mean_f1")
    assert cells["pixel accuracy"] == percent("pixel_accuracy")
    assert lines[-1] == f"logged to MLflow run {trained.run_id}"


def test_one_protocol_named_twice_is_one(cli: Any, trained: RunResult) -> None:
    found = json.loads(cli("eval", trained.best, "--protocol", "farl,farl", "--protocol", "farl", "--json").out)
    assert list(found) == KEYS
    assert found["protocol"] == "farl"


def test_the_help_names_every_protocol(cli: Any) -> None:
    text = cli("eval", "--help").out
    assert all(f"{name}:" in text for name in PROTOCOLS)


def test_a_lost_store_costs_a_warning_on_stderr(cli: Any, trained: RunResult, tmp_path: Path) -> None:
    content = torch.load(trained.best, weights_only=True)
    torch.save({**content, "run_id": "0" * 32}, tmp_path / "other.pth")
    done = cli("eval", tmp_path / "other.pth", "--json")
    assert done.code == 0
    assert list(json.loads(done.out)) == KEYS
    assert done.err.startswith("warning: MLflow at ")
    assert done.err.count("\n") == 1


def test_the_real_command_prints_json_on_stdout_alone(faceparse: Any, trained: RunResult) -> None:
    done = faceparse("eval", trained.best, "--json", "--device", "cpu", "--input-size", "96,64", "--batch-size", 1)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == KEYS
    assert done.stderr == ""


def test_data_and_crop_can_be_others(cli: Any, trained: RunResult, own_faces: Path, monkeypatch: Any) -> None:
    sizes = []

    def remember(*arguments: Any) -> Any:
        parser = load_parser(*arguments)
        sizes.append(parser.input_size)
        return parser

    monkeypatch.setattr("faceparse.core.evaluation.score_checkpoint.load_parser", remember)
    found = json.loads(cli("eval", trained.best, "--data-dir", own_faces, "--input-size", "80,64", "--json").out)
    assert found["dataset"] == str(own_faces)
    assert sizes == [(80, 64)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--split", "tests"], "--split 'tests': not one of train, val, test; did you mean 'test'?"),
        (
            ["--protocol", "labels"],
            "--protocol 'labels': not one of eagrnet, label, farl, segface; did you mean 'label'?",
        ),
        (["--protocol", "label,farl", "--protocol", "eagr"], "--protocol 'eagr': not one of eagrnet, label, farl, seg"),
        (["--data-dir", "nowhere"], "nowhere: no such dataset folder; make it with 'faceparse prepare' or give"),
        (["--num-classes", "19"], "{best}: has 11 classes (helen), --num-classes says 19; take another checkpoint"),
        (["--dataset", "fasseg"], "{best}: has 11 classes (helen), {faces} (fasseg) says 6; take another checkpoint"),
        (["--device", "gpu"], "device 'gpu': not one of auto, cpu, cuda, cuda:N"),
        (["--device", "mps"], "device 'mps': not one of auto, cpu, cuda, cuda:N"),
        (["--gpus", "0,1"], "--gpus 0,1: this command uses one GPU; write --gpus 0"),
        (["--gpus", "0"], "GPU 0 was asked for, but there is no GPU here; use --device cpu"),
        (["--input-size", "64,x"], "option: data.input_size = "),
        (["--input-size", "8,8"], "option: data.input_size = "),
        (["--batch-size", "0"], "Invalid value for '--batch-size': "),
        (["more"], "Got unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused_in_one_line(
    cli: Any, trained: RunResult, faces: Path, arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = cli("eval", trained.best, *arguments).message
    assert message.startswith(expected.format(best=trained.best, faces=faces))


def test_a_file_that_is_no_checkpoint_is_refused(cli: Any, trained: RunResult, tmp_path: Path) -> None:
    assert cli("eval", "nothing.pth").message == "nothing.pth: no such checkpoint file"
    (tmp_path / "cut.pth").write_bytes(trained.best.read_bytes()[:-1000])
    assert cli("eval", tmp_path / "cut.pth").message.endswith("copy or download it again")
    assert cli("eval").message.startswith("Missing argument ")
