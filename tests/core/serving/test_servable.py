"""A registered model where others load and serve it: in processes of their own."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pytest
from PIL import Image

import faceparse
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import CheckpointError
from faceparse.core.images.encoding import encode_jpeg, encode_png

FACE = draw_face(np.random.default_rng(11), 120).image


def turned() -> bytes:
    """A JPEG that is to be shown turned to the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(FACE[:, :83]).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


PHOTOGRAPHS = [encode_jpeg(FACE), encode_png(FACE[:31, :117]), turned()]


def assert_labels(answers: list[dict[str, Any]], bundle: Path) -> None:
    parser = faceparse.load(bundle, device="cpu")
    for one, photograph in zip(answers, PHOTOGRAPHS, strict=True):
        expected = parser.predict(photograph)
        with Image.open(io.BytesIO(base64.b64decode(one["labels"]))) as picture:
            assert np.array_equal(np.array(picture), expected.labels)
        assert one["classes"] == list(parser.names)
        assert one["areas"] == expected.areas()


def test_it_is_loaded_and_predicts_without_pytorch(registered: str, bundle: Path, tmp_path: Path) -> None:
    """With its own copy of this package, of bytes and base64 alike."""
    for number, photograph in enumerate(PHOTOGRAPHS):
        (tmp_path / str(number)).write_bytes(photograph)
    code = f"""
import base64, json, pathlib, sys
sys.modules |= dict.fromkeys(["torch", "torchvision", "onnx"])  # importing them fails
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model({registered!r}, dst_path="copy", suppress_warnings=True)
pictures = [pathlib.Path(str(number)).read_bytes() for number in range({len(PHOTOGRAPHS)})]
answers = model.predict(pandas.DataFrame({{"image": pictures}}))
assert answers == model.predict(pandas.DataFrame({{"image": [base64.b64encode(one).decode() for one in pictures]}}))
whole = model.predict(pandas.DataFrame({{"image": pictures}}), params={{"faces": "none"}})
assert [one["faces"] for one in whole] == [None] * len(pictures)
import faceparse
assert pathlib.Path(faceparse.__file__).is_relative_to(pathlib.Path("copy").absolute()), faceparse.__file__
try:
    model.predict(pandas.DataFrame({{"image": [pictures[0], b"no picture"]}}))
except mlflow.MlflowException as error:
    problem = str(error)
print(json.dumps([answers, problem]))
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    (tmp_path / "copy").mkdir()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    answers, problem = json.loads(done.stdout.splitlines()[-1])
    assert_labels(answers, bundle)
    assert problem == "image 1: not a readable image; replace the file"


def test_a_changed_byte_is_refused_when_it_is_loaded(
    registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(registered, dst_path=str(tmp_path)))
    labels = folder / "artifacts" / "bundle" / "labels.toml"
    labels.write_bytes(labels.read_bytes().replace(b"helen", b"Helen"))
    monkeypatch.setattr(sys, "path", sys.path.copy())  # loading puts the model's code before it
    with pytest.raises(CheckpointError, match=r"bundle/labels.toml: was changed since it was exported"):
        mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)


@pytest.fixture(scope="module")
def served(registered: str, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve`, until the module is done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/parser@champion"]
    programs = Path(sys.executable).parent  # where MLflow looks for its server
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, "MLFLOW_TRACKING_URI": store, "PATH": f"{programs}:{os.environ['PATH']}"},
            start_new_session=True,  # it starts others, which end with it
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5)
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(url: str, content: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_over_http_and_outlives_bad_requests(served: str, bundle: Path) -> None:
    encoded = [base64.b64encode(photograph).decode() for photograph in PHOTOGRAPHS]
    status, answer = ask(served, {"dataframe_split": {"columns": ["image"], "data": [[one] for one in encoded]}})
    assert status == 200
    assert_labels(answer["predictions"], bundle)

    bad = base64.b64encode(b"no picture").decode()
    status, problem = ask(served, {"dataframe_records": [{"image": encoded[0]}, {"image": bad}]})
    assert (status, problem["message"]) == (400, "image 1: not a readable image; replace the file")
    status, problem = ask(served, {"inputs": {"image": ["what?"]}})
    assert (status, problem["message"]) == (400, "image 0: not base64; give a picture file's bytes in base64")
    assert "stack_trace" not in problem
    status, problem = ask(served, {"inputs": {"image": encoded}, "params": {"faces": "all"}})
    assert (status, problem["message"]) == (400, "faces = 'all': write auto or none")
    status, answer = ask(served, {"inputs": {"image": encoded[:1]}, "params": {"faces": "none"}})
    assert (status, answer["predictions"][0]["faces"]) == (200, None)

    status, answer = ask(served, {"inputs": {"image": encoded}})
    assert status == 200
    assert_labels(answer["predictions"], bundle)
