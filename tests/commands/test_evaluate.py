import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from faceparse.commands import console
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.scoring.protocols import PROTOCOLS
from faceparse.core.scoring.score_model import plan_evaluations, score_checkpoint
from faceparse.core.scoring.tta import augmented_network
from faceparse.core.training.run import RunResult

KEYS = ["checkpoint", "dataset", "split", "protocol", "images", "f1", "iou", "merged_f1"]
KEYS += ["mean_f1", "mean_iou", "pixel_accuracy", "boundary_f1", "mean_boundary_f1", "intervals"]
KEYS += ["resampled_mean_f1", "confusion", "groups"]
KEYS += ["epoch", "input_size", "tta", "classes", "label_set", "bootstrap", "scarce", "worst"]
KEYS += ["fingerprint", "licence", "model_file", "speed", "finished"]
SCORES = KEYS[5:17]


@pytest.fixture(scope="module")
def best(trained: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that may be written beside."""
    return Path(shutil.copy(trained.best, tmp_path_factory.mktemp("copied")))


def percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.2f}"


def span(interval: list[float]) -> str:
    return "\N{EN DASH}".join(f"{100 * value:.1f}" for value in interval)


def first_table(text: str) -> str:
    """The table of scores; those of groups follow."""
    return text.split("largest gaps between groups")[0]


def cells_of(table: str) -> dict[str, list[str]]:
    """A table's first column -> the others."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_json_is_one_object_and_nothing_else(cli: Any, best: Path, faces: Path) -> None:
    done = cli("eval", best, "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert list(found) == KEYS
    assert (found["checkpoint"], found["dataset"]) == (str(best), str(faces))
    assert (found["split"], found["protocol"], found["images"]) == ("test", "eagrnet", 2)
    (plan,) = plan_evaluations([read_checkpoint(best)])
    expected = score_checkpoint(plan, device=torch.device("cpu")).scores["eagrnet"]
    assert (found["f1"], found["iou"], found["merged_f1"]) == (expected.f1, expected.iou, expected.merged_f1)
    assert list(found["f1"]) == list(get_label_set("helen").names)
    assert found["pixel_accuracy"] == expected.pixel_accuracy


def test_the_table_shows_the_same_in_percent(cli: Any, trained: RunResult, best: Path) -> None:
    found = json.loads(cli("eval", best, "--split", "val", "--json").out)
    done = cli("eval", best, "--split", "val")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].strip() == "faces val, 2 images, protocol eagrnet"
    cells = cells_of(first_table(done.out))
    for name, f1 in found["f1"].items():
        boundary = [scores[name] for scores in found["boundary_f1"].values()]
        expected = [percent(value) for value in (f1, found["iou"][name], *boundary)]
        assert [cells[name][0], *cells[name][-4:]] == expected
        assert f1 is None or cells[name][1] == span(found["intervals"][f"f1/{name}"])
    assert cells["overall (merged)"][0] == percent(found["merged_f1"]["overall"])
    means = [found["mean_f1"], found["mean_iou"], *found["mean_boundary_f1"].values()]
    shown = cells["mean, no background"]
    assert [shown[0], *shown[2:]] == [percent(value) for value in means]
    assert lines[-3].startswith(
        "note: faces val: only 2 photographs, and 20 are the least for a score that is not mostly"
    )
    assert lines[-2].startswith("report: ")
    assert lines[-1] == f"logged to MLflow run {trained.run_id}"


def test_scores_stand_in_the_run_that_made_the_checkpoint(cli: Any, trained: RunResult, best: Path, store: str) -> None:
    found = json.loads(cli("eval", best, "--split", "train", "--protocol", "label", "--json").out)
    (metric,) = MlflowClient(store).get_metric_history(str(trained.run_id), "train.label/pixel_accuracy")
    assert (metric.step, metric.value) == (1, pytest.approx(found["pixel_accuracy"]))


@pytest.fixture
def several(cli: Any, best: Path) -> dict[str, Any]:
    """Each protocol's JSON, scored alone, at a size that sets the protocols apart."""
    arguments = ["eval", best, "--split", "val", "--input-size", "96,64", "--json", "--protocol"]
    return {name: json.loads(cli(*arguments, name).out) for name in ("segface", "farl", "eagrnet")}


SEVERAL = ["--split", "val", "--input-size", "96,64", "--protocol", "segface,farl", "--protocol", "eagrnet,farl"]


def test_several_protocols_are_one_object(
    cli: Any, trained: RunResult, best: Path, faces: Path, store: str, several: dict[str, Any]
) -> None:
    def logged(protocol: str) -> list[float]:
        name = f"val{'' if protocol == 'eagrnet' else f'.{protocol}'}.96x64/pixel_accuracy"
        return [metric.value for metric in MlflowClient(store).get_metric_history(str(trained.run_id), name)]

    done = cli("eval", best, *SEVERAL, "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    found = json.loads(done.out)
    assert list(found) == ["checkpoint", "dataset", "split", "images", "protocols", *KEYS[17:]]
    assert (found["checkpoint"], found["dataset"]) == (str(best), str(faces))
    assert (found["split"], found["images"]) == ("val", 2)
    assert list(found["protocols"]) == ["segface", "farl", "eagrnet"]
    for name, scores in found["protocols"].items():
        assert scores == {key: several[name][key] for key in SCORES}
        assert logged(name) == [pytest.approx(scores["pixel_accuracy"])]  # once, however often it is scored
    assert len({scores["pixel_accuracy"] for scores in found["protocols"].values()}) == 3


def test_several_protocols_are_columns_of_f1(cli: Any, trained: RunResult, best: Path, several: dict[str, Any]) -> None:
    lines = cli("eval", best, *SEVERAL).out.splitlines()
    assert lines[0].strip() == "faces val, 2 images, F1 % by protocol"
    assert lines[2].split() == ["class", "segface", "farl", "eagrnet"]
    cells = cells_of(first_table("\n".join(lines)))

    def shown(*keys: str) -> list[str]:
        values = [scores[keys[0]][keys[1]] if keys[1:] else scores[keys[0]] for scores in several.values()]
        return [percent(value) for value in values]

    for name in several["farl"]["f1"]:
        assert cells[name] == shown("f1", name)
    assert cells["overall (merged)"] == shown("merged_f1", "overall")
    assert cells["mean F1"] == shown("mean_f1")
    assert cells["pixel accuracy"] == shown("pixel_accuracy")
    assert lines[-1] == f"logged to MLflow run {trained.run_id}"


def test_one_protocol_named_twice_is_one(cli: Any, best: Path) -> None:
    found = json.loads(cli("eval", best, "--protocol", "farl,farl", "--protocol", "farl", "--json").out)
    assert list(found) == KEYS
    assert found["protocol"] == "farl"


def test_the_help_names_every_protocol(cli: Any) -> None:
    text = cli("eval", "--help").out
    assert all(f"{name}:" in text for name in PROTOCOLS)


def test_a_lost_store_costs_a_warning_on_stderr(cli: Any, best: Path, tmp_path: Path) -> None:
    content = torch.load(best, weights_only=True)
    torch.save({**content, "run_id": "0" * 32}, tmp_path / "other.pth")
    done = cli("eval", tmp_path / "other.pth", "--json")
    assert done.code == 0
    assert list(json.loads(done.out)) == KEYS
    assert done.err.startswith("warning: MLflow at ")
    assert done.err.count("\n") == 1


def test_the_real_command_prints_json_on_stdout_alone(faceparse: Any, best: Path) -> None:
    done = faceparse("eval", best, "--json", "--device", "cpu", "--input-size", "96,64", "--batch-size", 1)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == KEYS
    assert done.stderr == ""


def test_data_and_crop_can_be_others(cli: Any, best: Path, own_faces: Path, monkeypatch: Any) -> None:
    sizes = []

    def remember(*arguments: Any) -> Any:
        network = augmented_network(*arguments)
        sizes.append(network.input_size)
        return network

    monkeypatch.setattr("faceparse.core.scoring.score_model.augmented_network", remember)
    found = json.loads(cli("eval", best, "--data-dir", own_faces, "--input-size", "80,64", "--json").out)
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
        (["--mapping", "nowhere.toml"], "mapping nowhere.toml: no such file; it has lines such as skin = "),
        (["--device", "gpu"], "device 'gpu': not one of auto, cpu, cuda, cuda:N, mps"),
        (
            ["--device", "mps"],
            "device 'mps': this torch finds no GPU of Apple's here; use --device cpu, or see 'faceparse doctor'",
        ),
        (["--gpus", "0,1"], "--gpus 0,1: this command uses one GPU; write --gpus 0"),
        (["--gpus", "0"], "GPU 0 was asked for, but there is no GPU here; use --device cpu"),
        (["--input-size", "64,x"], "option: data.input_size = "),
        (["--input-size", "8,8"], "option: data.input_size = "),
        (["--batch-size", "0"], "Invalid value for '--batch-size': "),
        (["more"], "more: no such checkpoint file"),
        (["{best}"], "a checkpoint is named twice; name each once"),
        (["--tta", "flop"], "--tta 'flop': not one of flip, scales; did you mean 'flip'?"),
        (["--tta", "flip", "--tta-scales", "1"], "--tta-scales is of no use without --tta scales; add that"),
        (["--bootstrap", "-1"], "Invalid value for '--bootstrap': "),
        (["--output", "{best}"], "cannot write {best}: "),
        (["--output", "{faces}"], "{faces}: holds other files ("),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused_in_one_line(
    cli: Any, best: Path, faces: Path, arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    typed = [argument.format(best=best, faces=faces) for argument in arguments]
    message = cli("eval", best, *typed).message
    assert message.startswith(expected.format(best=best, faces=faces))


def test_a_file_that_is_no_checkpoint_is_refused(cli: Any, best: Path, tmp_path: Path) -> None:
    assert cli("eval", "nothing.pth").message == "nothing.pth: no such checkpoint file"
    (tmp_path / "cut.pth").write_bytes(best.read_bytes()[:-1000])
    assert cli("eval", tmp_path / "cut.pth").message.endswith("copy or download it again")
    assert cli("eval").message.startswith("Missing argument ")


def test_outputs_stand_where_they_are_told(cli: Any, best: Path) -> None:
    done = cli("eval", best, "--output", "here", "--worst", 1, "--bootstrap", 0, "--tta", "flip", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == json.loads(Path("here/scores.json").read_text())
    found = json.loads(done.out)
    assert (found["intervals"], found["tta"], len(found["worst"])) == ({}, "tta-flip", 1)
    assert len(list(Path("here/worst").iterdir())) == 2


def test_a_file_adds_groups(cli: Any, best: Path, faces: Path, tmp_path: Path, trained: RunResult, store: str) -> None:
    ids = [line.split()[0] for line in (faces / "train_list.txt").read_text().splitlines()]
    file = tmp_path / "groups.csv"
    file.write_text(
        "image;hair\n" + "".join(f"{name};{'long' if i % 2 else 'short'}\n" for i, name in enumerate(ids[1:]))
    )
    done = cli("eval", best, "--split", "train", "--groups", file, "--output", "here", "--worst", 0)
    assert done.code == 0
    first = Path(ids[0]).stem
    assert done.err.startswith(
        f"warning: {file}: lacks 1 of the {len(ids)} photographs of {faces} train, which form no group: '{first}'\n"
    )
    assert "largest gaps between groups, mean F1, protocol eagrnet" in done.out
    assert cells_of(done.out)["hair"] == ["too few images"]
    found = json.loads(Path("here/scores.json").read_text())["groups"]
    assert next(iter(found)) == "hair"
    assert {"skin_lightness", "skin_hue", "skin_colour", "nose_offset", "face_side", "face_share"} < set(found)
    hair = {group["name"]: group for group in found["hair"]["groups"]}
    assert [hair[name]["images"] for name in ("short", "long")] == [len(ids[1::2]), len(ids[2::2])]
    (metric,) = MlflowClient(store).get_metric_history(str(trained.run_id), "train/groups/hair/long")
    assert metric.value == pytest.approx(hair["long"]["mean_f1"])


def test_a_bad_file_of_groups_is_refused_before_the_work(cli: Any, best: Path, tmp_path: Path, tree: Any) -> None:
    (tmp_path / "groups.csv").write_text("name,sex\n1,f\n")
    before = tree()
    message = cli("eval", best, "--groups", tmp_path / "groups.csv", "--output", tmp_path / "here").message
    assert message.startswith(f"{tmp_path}/groups.csv: begins with 'name,sex'; the first column is id or image")
    assert tree() == before
    assert not (tmp_path / "here").exists()


def test_several_checkpoints_are_compared(cli: Any, best: Path, tmp_path: Path) -> None:
    content = torch.load(best, weights_only=True)
    weights = {key: value * 1.5 if "layer6" in key else value for key, value in content["model"].items()}
    torch.save({**content, "model": weights}, tmp_path / "other.pth")
    arguments = ["eval", best, tmp_path / "other.pth", "--output", "here", "--worst", 0, "--bootstrap", 50]
    found = json.loads(cli(*arguments, "--json").out)
    assert found == json.loads(Path("here/comparison/comparison.json").read_text())
    done = cli(*arguments)
    assert done.code == 0, done.err
    assert "report: here/comparison/comparison.html" in done.out
    one = found["differences"]["eagrnet"]["other.pth"]["mean_f1"]
    scores = [found["checkpoints"][name]["mean_f1"] for name in ("best.pth", "other.pth")]
    assert one["difference"] == scores[1] - scores[0]
    assert done.out.splitlines()[:2] == ["A: best.pth", "B: other.pth"]
    row = cells_of(done.out)["mean F1"]
    assert row[:3] == [percent(scores[0]), percent(scores[1]), f"{100 * one['difference']:+.2f}"]


def test_a_comparison_is_whole_in_a_pipe_and_fits_a_terminal(
    cli: Any, best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [tmp_path / f"a-run-with-a-long-name-{number}" / "best.pth" for number in (1, 2)]
    for other in others:
        other.parent.mkdir()
        shutil.copy(best, other)
    arguments = ["eval", best, *others, "--output", "here", "--worst", 0, "--bootstrap", 20]
    piped = cli(*arguments).out
    assert "…" not in piped
    assert piped.count("protocol eagrnet") == 1
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80, no_color=True, soft_wrap=True)
    monkeypatch.setattr(console, "out", terminal)
    assert cli(*arguments).code == 0
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    assert shown.count("protocol eagrnet") == 2
    assert shown.count("left_eye") == 2


def test_an_empty_split_is_refused(cli: Any, best: Path, own_faces: Path, tree: Any) -> None:
    (own_faces / "test_list.txt").write_text("\n")
    before = tree()
    assert cli("eval", best, "--data-dir", own_faces).message == f"{own_faces}/test_list.txt: the list is empty"
    assert tree() == before


def test_a_registered_model_is_scored_and_compared(cli: Any, best: Path, registered: str) -> None:
    done = cli("eval", "models:/parser@champion", best, "--worst", 0, "--bootstrap", 20)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "A: parser/1"
    found = json.loads(Path("eval/parser-1/test/scores.json").read_text())  # its own folder is a temporary one
    assert found["checkpoint"] == registered
    assert "report: eval/parser-1/test.comparison/comparison.html" in done.out
    assert "test: parser/1</title>" in Path("eval/parser-1/test/report.html").read_text()


def test_another_crop_than_a_registered_models_is_refused(cli: Any, registered: str) -> None:
    done = cli("eval", "models:/parser@champion", "--input-size", "96,96")
    assert done.message == (
        f"{registered}: was exported for crops of 64 x 64; export its checkpoint again with another --input-size"
    )
