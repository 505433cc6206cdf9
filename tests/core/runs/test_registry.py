"""Registering, and what is found again: from the database alone, and over HTTP."""

import dataclasses
import gc
import importlib.metadata
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.entities import LoggedModelStatus, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

import faceparse
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import CheckpointError, SettingsError, TrackingError
from faceparse.core.load import load_model_from
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.inference import load_parser
from faceparse.core.runs import registry
from faceparse.core.runs.mlflow_store import mlflow_name
from faceparse.core.runs.registry import Registration, download, requirements
from faceparse.core.training.run import RunResult
from tests.conftest import Server

FACE = draw_face(np.random.default_rng(8), 90).image
TAGS = {"faceparse": "0", "format": "onnx"}


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store, store)


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle alone is uploaded, without what MLflow needs to serve it: that takes seconds."""

    def save(bundle: Path, folder: Path, model: object) -> None:
        shutil.copytree(bundle, folder / "artifacts" / "bundle")

    monkeypatch.setattr(registry, "_save", save)


def snapshot(client: MlflowClient) -> object:
    """All that is registered, and every model that is logged."""
    experiments = [one.experiment_id for one in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
    logged = {model.model_id for model in client.search_logged_models(experiments)}
    versions = {(one.name, one.version, tuple(one.aliases)) for one in client.search_model_versions()}
    return {model.name for model in client.search_registered_models()}, versions, logged


def test_a_version_says_what_it_is_and_which_run_made_it(
    client: MlflowClient, registered: str, trained: RunResult, faces: Path
) -> None:
    checkpoint = read_checkpoint(trained.best)
    assert registered == "models:/parser/1"
    version = client.get_model_version_by_alias("parser", "champion")
    assert (version.version, version.run_id, version.status) == (1, checkpoint.run_id, "READY")
    expected = {"faceparse": faceparse.__version__, "format": "onnx", "dataset": "faces", "label_set": "helen"}
    expected |= {"classes": ",".join(checkpoint.label_set.names), "input_size": "64x64", "epoch": "1"}
    expected |= {"val/f1_mean": f"{checkpoint.scores['f1_mean']:.4f}"}
    assert expected.items() <= version.tags.items()
    assert f"val/f1/{checkpoint.label_set.names[1]}" in version.tags
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "parser", "version": "1"}]
    assert (model.source_run_id, model.status) == (checkpoint.run_id, LoggedModelStatus.READY)
    assert checkpoint.run_id is not None
    outputs = client.get_run(checkpoint.run_id).outputs
    assert model.model_id in [output.model_id for output in outputs.model_outputs]


@pytest.mark.parametrize("place", ["@champion", "@latest", "/latest", "/1"])
def test_what_is_registered_is_loaded_by_version_and_alias(registered: str, bundle: Path, place: str) -> None:
    model = load_model_from(f"models:/parser{place}")
    assert (model.address, model.source, model.short_name, model.home) == (
        registered,
        registered,
        "parser-1",
        Path(),
    )
    parser = faceparse.load(f"models:/parser{place}", device="cpu")
    assert np.array_equal(parser.predict(FACE).labels, faceparse.load(bundle, device="cpu").predict(FACE).labels)


def test_the_copy_is_there_as_long_as_the_model(registered: str) -> None:
    model = load_model_from(registered)
    path = model.path
    model = dataclasses.replace(model, epoch=7)
    gc.collect()
    assert path.is_file()
    parser = faceparse.FaceParser(load_parser(model, torch.device("cpu")), model.label_set)
    del model
    gc.collect()
    assert not path.parents[1].exists()
    assert parser.predict(FACE).labels.shape == FACE.shape[:2]  # what runs is in memory


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("models:/parsr@latest", "no model 'parsr' in MLflow at {}; did you mean 'parser'?; "
         "'faceparse export CHECKPOINT --register NAME' makes one"),
        ("models:/parser@chempion", "not in MLflow at {}; 'parser' there has 1, @champion, @latest"),
        ("models:/parser/7", "not in MLflow at {}; 'parser' there has 1, @champion, @latest"),
        ("models:/parser", "write models:/NAME/VERSION or models:/NAME@ALIAS, such as models:/face@latest"),
        ("models:/parser/Production", "write models:/NAME/VERSION or models:/NAME@ALIAS, such as models:/face@latest"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(registered: str, store: str, source: str, problem: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_model_from(source)
    assert str(caught.value) == f"{source}: {problem.format(store)}"


def test_a_model_of_others_is_refused(client: MlflowClient, tmp_path: Path) -> None:
    client.create_registered_model("theirs")
    client.create_model_version("theirs", tmp_path.as_uri())
    with pytest.raises(
        CheckpointError, match=r"^models:/theirs/1: was not registered by 'faceparse export --register'"
    ):
        load_model_from("models:/theirs@latest")


def test_damage_in_the_store_is_found(client: MlflowClient, store: str, own: Path, unsaved: None) -> None:
    uri = Registration(store, "spoilt", "latest", None, "spoilt").register(own, tags=TAGS, step=0)
    assert uri == "models:/spoilt/1"
    location = client.get_model_version_download_uri("spoilt", "1")
    files = Path(location.removeprefix("file://")) / "artifacts" / "bundle"
    content = bytearray((files / "model.onnx").read_bytes())
    content[1000] ^= 1
    (files / "model.onnx").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_model_from(uri)
    assert str(caught.value) == (
        "models:/spoilt/1/model.onnx: was changed since it was exported (SHA-256 differs); export and register it again"
    )
    shutil.rmtree(files.parents[1])
    with pytest.raises(CheckpointError) as caught:
        load_model_from("models:/spoilt@latest")
    message = str(caught.value)
    assert message.startswith(f"models:/spoilt/1: its files cannot be fetched from {location} (")
    assert message.endswith("); where they are gone, export and register it again")
    assert "\n" not in message


def test_an_alias_moves_to_the_new_version(client: MlflowClient, store: str, own: Path, unsaved: None) -> None:
    moving = Registration(store, "moving", "champion", None, "moving")
    moving.check(warn=pytest.fail)
    assert [moving.register(own, tags=TAGS, step=0) for _ in range(2)] == ["models:/moving/1", "models:/moving/2"]
    dataclasses.replace(moving, alias="latest").register(own, tags=TAGS, step=0)
    assert client.get_registered_model("moving").aliases == {"champion": 2}
    assert load_model_from("models:/moving@champion").address == "models:/moving/2"
    assert load_model_from("models:/moving@latest").address == "models:/moving/3"


@pytest.mark.parametrize("step", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"])
def test_what_fails_on_the_way_leaves_nothing(
    client: MlflowClient, store: str, own: Path, unsaved: None, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = snapshot(client)

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("the disk\nis full")

    monkeypatch.setattr(MlflowClient, step, fail)
    with pytest.raises(TrackingError) as caught:
        Registration(store, "failing", "champion", None, "faceparse").register(own, tags=TAGS, step=0)
    assert str(caught.value) == (
        f"MLflow at {store} failed, nothing is registered: the disk; try again when it is back"
    )
    assert snapshot(client) == before


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a@b", "a b", "a.b", "ä"])
def test_bad_names_are_refused(store: str, name: str) -> None:
    with pytest.raises(SettingsError, match=r"^--register '.*': a name is of letters, digits, '_' and '-'$"):
        Registration(store, name, "latest", None, "faceparse").check(warn=pytest.fail)


@pytest.mark.parametrize("alias", ["", "a.b", "a/b", "a@b", "ä"])
def test_bad_aliases_are_refused(store: str, alias: str) -> None:
    with pytest.raises(SettingsError, match=r"^--alias '.*': a name is of letters, digits, '_' and '-'$"):
        Registration(store, "face", alias, None, "faceparse").check(warn=pytest.fail)


@pytest.mark.parametrize("alias", ["1", "v1", "V22"])
def test_an_alias_is_no_number(store: str, alias: str) -> None:
    with pytest.raises(SettingsError, match=rf"^--alias '{alias}': is a version's name; take another$"):
        Registration(store, "face", alias, None, "faceparse").check(warn=pytest.fail)


def test_a_deleted_experiment_is_found_before_the_work(client: MlflowClient, store: str) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(SettingsError, match="tracking.experiment = 'gone': deleted in MLflow at"):
        Registration(store, "face", "latest", None, "gone").check(warn=pytest.fail)


@pytest.fixture
def dead() -> Iterator[str]:
    """A server that does not answer: the port is taken, and nobody listens."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{deaf.getsockname()[1]}"


def test_a_dead_server_is_found_before_the_work(dead: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with pytest.raises(TrackingError, match=rf"^MLflow at {dead} failed, nothing is exported: .*Connection refused"):
        Registration(dead, "face", "latest", "0" * 32, "faceparse").check(warn=pytest.fail)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", dead)
    with pytest.raises(TrackingError, match=rf"^MLflow at {dead} failed, models:/face@latest is not loaded: "):
        load_model_from("models:/face@latest")
    assert time.monotonic() - began < 10
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(
        TrackingError, match="none.db failed, models:/face@latest is not loaded: the database is not there"
    ):
        load_model_from("models:/face@latest")
    assert not (tmp_path / "none.db").exists()


def test_a_run_that_is_not_there_is_named(store: str) -> None:
    with pytest.raises(TrackingError, match=r"nothing is exported: Run with id=0{32} not found"):
        Registration(store, "face", "latest", "0" * 32, "faceparse").check(warn=pytest.fail)


def test_a_run_that_was_deleted_is_found_before_the_work(client: MlflowClient, store: str) -> None:
    run_id = client.create_run(client.create_experiment("of a deleted run")).info.run_id
    client.delete_run(run_id)
    with pytest.raises(TrackingError) as caught:
        Registration(store, "face", "latest", run_id, "faceparse").check(warn=pytest.fail)
    expected = f"run {run_id} was deleted there; 'mlflow runs restore --run-id {run_id}' brings it back"
    assert str(caught.value) == f"MLflow at {store} failed, nothing is exported: {expected}"


def test_any_class_name_can_stand_in_a_versions_tags(
    client: MlflowClient, store: str, own: Path, unsaved: None
) -> None:
    tags = TAGS | {"test/f1/skin (face)": "0.5"}
    Registration(store, "named", "latest", None, "named").register(own, tags=tags, step=0)
    assert client.get_model_version("named", "1").tags[mlflow_name("test/f1/skin (face)")] == "0.5"


def test_serving_is_pinned_to_what_is_installed() -> None:
    pins = dict(line.split("==") for line in requirements())
    assert set(pins) == {"mlflow", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "pydantic"}
    assert pins["numpy"] == np.__version__
    assert pins["onnxruntime"] == importlib.metadata.version("onnxruntime")


def test_a_registry_behind_a_server_holds_the_files_too(
    server: Server, own: Path, bundle: Path, tmp_path: Path, trained: RunResult
) -> None:
    """The same over HTTP, with the server's proxy for artifacts; with a run and without."""
    for number, run_id in enumerate([None, read_checkpoint(trained.best).run_id], 1):
        there = Registration(server.uri, "remote", "champion", run_id, "remote")
        there.check(warn=pytest.fail)
        assert there.register(own, tags=TAGS, step=0) == f"models:/remote/{number}"
    uri, found = download("models:/remote@champion", server.uri, tmp_path / "copy")
    assert uri == "models:/remote/2"
    for path in bundle.iterdir():
        assert (found / path.name).read_bytes() == path.read_bytes()
