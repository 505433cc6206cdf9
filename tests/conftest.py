"""Fixtures made by code: a prepared dataset of drawn faces and a network trained on it for a moment."""

import hashlib
import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import tomli_w
import torch
from torch import Tensor, nn
from torchvision import models

from faceparse.core.datasets.edges import update_edges
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.export.bundle import fill_bundle, read_bundle
from faceparse.core.export.export import Exporter, ExportReport
from faceparse.core.export.exported import read_exported, to_metadata
from faceparse.core.export.formats import FORMATS
from faceparse.core.export.registration import plan_registration, register_report
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.machine.parallel import untracked
from faceparse.core.model.build import build_model
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.parser.portable import pack_weights
from faceparse.core.sampling.loader import start_loader_server
from faceparse.core.scoring import model_facts
from faceparse.core.scoring.split import find_split
from faceparse.core.settings import Settings, load_settings
from faceparse.core.training.launch import Display
from faceparse.core.training.observer import Observer
from faceparse.core.training.run import RunResult, train
from faceparse.core.training.trainer import Progress

GOLDEN = Path(__file__).parent / "data" / "golden"
PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "fasseg" / "V2"

TINY = {
    "model.backbone": "mobilenet_v2",
    "data.input_size": (64, 64),
    "data.workers": 0,
    "train.batch_size": 4,
    "train.epochs": 1,
    "train.device": "cpu",
    "tracking.overlays": 1,
}
"""The smallest run that is a run: of a light network."""

PAPER = {"model.backbone": "resnet18", "model.stem": "torchvision"}
"""The smallest of the paper's networks. A training takes six times as long."""

Tiny = Callable[..., Settings]
"""Makes settings of the smallest run, but for what is named: the fixture `tiny`."""

# Nets and images are too small to repay a second thread, and threads of two processes wait for each other.
# Processes that tests start heed the variable.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


class Silent:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.warnings: list[str] = []
        self.epochs: list[tuple[int, dict[str, float], bool]] = []
        self.reports: list[Progress] = []
        self.track = untracked

    def message(self, text: str) -> None:
        self.messages.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None: ...

    def progress(self, progress: Progress) -> None:
        self.reports.append(progress)

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        self.epochs.append((epoch, metrics, best))


def shown_to(observer: Observer) -> Display:
    """For what wants to open a display of its own."""
    return lambda: nullcontext(observer)


class Bands(ParsingModel):
    """In the network's place: eleven classes from dark to bright, at a quarter of the image's size."""

    align_corners = True

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def forward(self, image: Tensor) -> Output:
        grey = image.mean(dim=1, keepdim=True)[:, :, ::4, ::4]
        centres = torch.linspace(-2, 2.5, 11).view(1, 11, 1, 1)
        return Output(-((grey - centres) ** 2), grey)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for the whole session: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


class Server:
    """MLflow's own server on the database of `store`, to be stopped and started again on the same port."""

    class _Threads(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class _Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None: ...

    def __init__(self, app: Callable[..., object]) -> None:
        self._app = app
        self._server: WSGIServer | None = None
        self.port = 0
        self.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self._server is None:
            self._server = make_server("127.0.0.1", self.port, self._app, self._Threads, self._Quiet)  # type: ignore[arg-type]
            self.port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture(scope="session")
def _server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """In this process: `mlflow server` takes most of a minute to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", store)
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(tmp_path_factory.mktemp("artifacts")))
        patch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        from mlflow.server import app

        server = Server(app)
        yield server
        server.stop()


@pytest.fixture
def server(_server: Server) -> Server:
    """It runs."""
    _server.start()
    return _server


@pytest.fixture(scope="session")
def _object_store() -> Iterator[str]:
    """Endpoint of moto's server, on this machine."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    pytest.importorskip("moto", reason="moto is not installed")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(_object_store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], str]]:
    """Store an object in s3://photos, an empty bucket at first; returns its address."""
    import fsspec
    from fsspec.config import conf

    for name, value in (("KEY", "test"), ("SECRET", "test"), ("ENDPOINT_URL", _object_store)):
        monkeypatch.setenv(f"FSSPEC_S3_{name}", value)  # for processes that a test starts
        monkeypatch.setitem(conf, "s3", {**conf.get("s3", {}), name.lower(): value})
    system = fsspec.filesystem("s3")
    with suppress(FileExistsError):
        system.mkdir("photos")

    def store(key: str, data: bytes) -> str:
        system.pipe(f"photos/{key}", data)
        return f"s3://photos/{key}"

    yield store
    system.invalidate_cache()
    for key in system.find("photos"):
        system.rm_file(key)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    """No test sees the caller's settings, or writes where the caller stands."""
    for name in os.environ:
        if name.startswith("FACEPARSE_") or name == "MLFLOW_EXPERIMENT_NAME":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _loader_server() -> None:
    """As training does, and for the same reason: before any test starts another one."""
    start_loader_server(workers=1)


@pytest.fixture(scope="session", autouse=True)
def _speed_of_one_pass() -> Iterator[None]:
    """Evaluations time a single pass: ten take longer than all the rest of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_facts, "PASSES", 1)
        yield


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 drawn faces of 72 x 72 pixels, prepared and with edges: 12 train, 2 val, 2 test. Not to be written to."""
    root = tmp_path_factory.mktemp("data") / "faces"
    prepare(Synthetic(count=16, size=72, seed=1, val=0.125, test=0.125), root)
    update_edges(root)
    return root


@pytest.fixture
def own_faces(faces: Path, tmp_path: Path) -> Path:
    """A copy of `faces` that a test may spoil."""
    return Path(shutil.copytree(faces, tmp_path / "own_faces"))


@pytest.fixture
def tiny(faces: Path, tmp_path: Path) -> Tiny:
    """Settings of the smallest run on `faces`; keyword arguments use `__` for the dot."""

    def make(**changes: object) -> Settings:
        options = {**TINY, "data.root": faces, "train.run_dir": tmp_path / "run"}
        return load_settings(options=options | {key.replace("__", "."): value for key, value in changes.items()})

    return make


@pytest.fixture(scope="session")
def trained(faces: Path, tmp_path_factory: pytest.TempPathFactory, store: str) -> RunResult:
    """A finished one-epoch run of the paper's network. Not to be written to."""
    options = {
        **TINY,
        **PAPER,
        "data.root": faces,
        "train.run_dir": tmp_path_factory.mktemp("runs") / "run",
        "tracking.uri": store,
    }
    return train(load_settings(options=options), Silent())


@pytest.fixture(scope="session")
def bundle(trained: RunResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run's network as an ONNX bundle. Not to be written to."""
    checkpoint = read_checkpoint(trained.best)
    exporter = Exporter(checkpoint, scored_on=find_split(checkpoint))
    return exporter.export("onnx", tmp_path_factory.mktemp("bundles") / "best.bundle", bundle=True).path


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the light network with fresh weights for CelebAMask-HQ's classes. Not to be written to."""
    options = {"model.backbone": "mobilenet_v2", "data.input_size": (64, 64), "data.label_set": "celebamask-hq"}
    settings, label_set = load_settings(options=options), get_label_set("celebamask-hq")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        weights = build_model(settings.model, len(label_set)).state_dict()
    folder = tmp_path_factory.mktemp("light") / "light.bundle"
    folder.mkdir()
    file = folder / "model.safetensors"
    checkpoint = Checkpoint(path=file, settings=settings, label_set=label_set, weights=weights, epoch=3)
    file.write_bytes(pack_weights(weights, to_metadata(checkpoint, "logits", "fixed"), half=True))
    fill_bundle(folder, read_exported(file, FORMATS["safetensors"]), "safetensors", None, None)
    return folder


@pytest.fixture
def shipped(light: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That network as the shipped model, in a folder that a test may spoil, and a cache folder of the test's own."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    file = folder / f"{DEFAULT}.safetensors"
    shutil.copy(light / "model.safetensors", file)
    entry = {
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "licence": "research only",
        "notice": "its weights are for research only",
        "label_set": "celebamask-hq",
        "score": 0.8125,
        "protocol": "eagrnet on CelebAMask-HQ test",
    }
    (folder / "models.toml").write_text(tomli_w.dumps({DEFAULT: entry}))
    monkeypatch.setattr("faceparse.core.names.shipped.FOLDER", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture(scope="session")
def registered(trained: RunResult, bundle: Path) -> str:
    """That bundle in the registry of the run's store: models:/parser/1, @champion. Not to be written to."""
    registration = plan_registration(read_checkpoint(trained.best), "parser", "champion", ["onnx"], warn=pytest.fail)
    return register_report(registration, ExportReport("onnx", bundle, read_bundle(bundle), 0, (), None), None)


@pytest.fixture
def offline(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Torch hub's folder of weights, not yet made, where no server but this machine's own can be reached."""
    home = tmp_path_factory.mktemp("torch")
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and not listening: connections are refused, and nobody else gets the port
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield home / "hub" / "checkpoints"


@pytest.fixture
def imagenet(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ResNet-18's weights in that folder: torchvision is told to look for a file with their hash in its name."""
    torch.manual_seed(5)
    content = io.BytesIO()
    torch.save(models.resnet18().state_dict(), content)
    name = f"resnet18-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth"
    url = f"https://download.pytorch.org/models/{name}"
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
    offline.mkdir(parents=True)
    (offline / name).write_bytes(content.getvalue())
    return offline / name


@pytest.fixture
def faceparse(tmp_path: Path) -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    """Run the real command in a process of its own."""

    def run(*arguments: object, **keywords: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "faceparse.cli", *map(str, arguments)]
        if "preexec_fn" in keywords:  # a limit that is set there is none of the file of `make coverage`
            keywords["env"] = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **keywords)  # type: ignore[call-overload, no-any-return]

    yield run
