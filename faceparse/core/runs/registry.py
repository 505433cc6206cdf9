"""MLflow's model registry: exported bundles as versions of a name, ready to be served."""

import base64
import importlib.metadata
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import Array, ColSpec, DataType, Map, Object, ParamSchema, ParamSpec, Property, Schema
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

import faceparse
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import CheckpointError, SettingsError, TrackingError
from faceparse.core.faces.choose_finder import AUTO
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.labels.label_set import nearest
from faceparse.core.names.model_file import SCHEME
from faceparse.core.runs.database import beside, database_file, is_local
from faceparse.core.runs.mlflow_failures import FAILURES, advice, reason
from faceparse.core.runs.mlflow_store import Store, mlflow_name, open_store
from faceparse.core.runs.tracking_record import Say
from faceparse.core.runtime.checksums import BUNDLE
from faceparse.core.text.address import whole_address

LATEST = "latest"
"""Alias that MLflow itself gives to the newest version of every name."""
OURS = "faceparse"
"""Tag of versions that faceparse registered; its value is the version of faceparse."""

_NUMBERS = Array(DataType.double)
_FACE = Object(
    [Property("box", _NUMBERS), Property("score", DataType.double), Property("points", Array(_NUMBERS), required=False)]
)
_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "labels"),
            ColSpec(Array(DataType.string), "classes"),
            ColSpec(Map(DataType.long), "areas"),
            ColSpec(DataType.string, "notice"),
            ColSpec(Array(_FACE), "faces", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("faces", DataType.string, AUTO)]),
)
"""Signature in terms of JSON. In Python the column may hold the pictures' bytes, too."""

_NEEDED = (
    ("numpy",),
    ("onnxruntime", "onnxruntime-gpu"),
    # A server has no screen, so it gets the build of OpenCV that needs no graphics libraries.
    ("opencv-python-headless", "opencv-python"),
    ("pillow",),
    ("pydantic",),
)
"""Distributions that serving imports. Each line: the name to require, then others that provide the same."""


@dataclass(frozen=True)
class Registration:
    """Where to register a model, and as a version of which name."""

    uri: str
    name: str
    alias: str
    run_id: str | None
    """Run that made the model; None where there is none."""
    experiment: str
    """Name of the experiment for a model without a run."""

    def check(self, *, warn: Say) -> None:
        """Raise the errors of `register` early, before the work of an export.

        Args:
            warn: called with a message when a database was moved.

        Raises:
            SettingsError: MLflow does not take a name, or the experiment was deleted or is refused.
            TrackingError: MLflow cannot be reached, does not know the run, or knows it as deleted.
        """
        _check_name("--register", self.name)
        _check_name("--alias", self.alias)
        if re.fullmatch(r"v?\d+", self.alias, re.IGNORECASE):
            raise SettingsError(f"--alias {self.alias!r}: is a version's name; take another")
        with self._talking("nothing is exported", follow=False) as client:
            client.search_registered_models(max_results=1)
            store = open_store(self.uri, warn=warn)
            if self.run_id is not None:
                store.check_run(self.run_id)
            else:
                store.experiment(self.experiment)

    def register(self, bundle: Path, *, tags: Mapping[str, str], step: int) -> str:
        """Upload a bundle as a model that MLflow can serve, and make it the newest version of the name.

        Returns:
            models:/NAME/VERSION.

        Raises:
            TrackingError: MLflow did not take it; nothing is registered.
        """
        with self._talking("nothing is registered") as client, ExitStack() as undo:
            tags = {mlflow_name(name): value for name, value in tags.items()}

            def on_failure(action: Callable[..., object], *arguments: object) -> None:
                undo.callback(_quietly, action, *arguments)

            experiment = self._experiment(client)
            model = client.create_logged_model(
                experiment, name=self.name, source_run_id=self.run_id, tags=dict(tags), model_type="face parsing"
            )
            on_failure(client.delete_logged_model, model.model_id)
            with tempfile.TemporaryDirectory() as folder:
                _save(bundle, Path(folder) / "model", model)
                client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            if not client.search_registered_models(f"name = '{self.name}'", max_results=1):
                client.create_registered_model(self.name)
                on_failure(client.delete_registered_model, self.name)
            with _default_uri(whole_address(self.uri)):  # MLflow's database code asks the default store
                version = client.create_model_version(
                    self.name, f"{SCHEME}{model.model_id}", self.run_id, tags=dict(tags), model_id=model.model_id
                )
            on_failure(client.delete_model_version, self.name, version.version)
            names = json.dumps([{"name": self.name, "version": str(version.version)}])
            client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: names})
            if self.run_id is not None:
                client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step)])
            if self.alias != LATEST:
                client.set_registered_model_alias(self.name, self.alias, version.version)
            undo.pop_all()
        return f"{SCHEME}{self.name}/{version.version}"

    def _experiment(self, client: MlflowClient) -> str:
        if self.run_id is None:
            return Store(self.uri).experiment(self.experiment)
        return str(client.get_run(self.run_id).info.experiment_id)

    @contextmanager
    def _talking(self, outcome: str, *, follow: bool = True) -> Iterator[MlflowClient]:
        with _talking(self.uri, outcome, must_exist=self.run_id is not None, follow=follow) as client:
            yield client


def _check_name(option: str, name: str) -> None:
    """Raise SettingsError unless MLflow takes `name` as a registered model, a logged model and an alias."""
    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        raise SettingsError(f"{option} {name!r}: a name is of letters, digits, '_' and '-'")


@contextmanager
def _talking(uri: str, outcome: str, *, must_exist: bool, follow: bool = True) -> Iterator[MlflowClient]:
    """Client for the store. Turn failures into TrackingError; `outcome` says what a failure leaves."""
    try:
        Store(uri, must_exist=must_exist, follow=follow)  # find a broken database at once
        yield MlflowClient(whole_address(uri), whole_address(uri))
    except FAILURES as error:
        raise TrackingError(f"MLflow at {uri} failed, {outcome}: {reason(error)}{advice(error)}") from None


@contextmanager
def _default_uri(uri: str) -> Iterator[None]:
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _quietly(action: Callable[..., object], *arguments: object) -> None:
    with suppress(*FAILURES):
        action(*arguments)


def _save(bundle: Path, folder: Path, model: LoggedModel) -> None:
    """Save a folder that MLflow can load and serve: the bundle, this package, and what both need.

    The whole package is in it, although serving needs little. Who loads a model in Python imports this copy of the
    package first, and may need more.
    """
    photograph = base64.b64encode(encode_jpeg(draw_face(np.random.default_rng(0), 96).image)).decode("ascii")
    with _no_advice():
        mlflow.pyfunc.save_model(
            folder,
            python_model=Path(__file__).parents[1] / "serving" / "servable.py",
            artifacts={BUNDLE: str(bundle)},
            code_paths=[str(Path(faceparse.__file__).parent)],
            signature=_SIGNATURE,
            input_example=pd.DataFrame({"image": [photograph]}),
            pip_requirements=requirements(),
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                run_id=model.source_run_id,
                model_uuid=model.model_id,
                model_id=model.model_id,
            ),
        )


@contextmanager
def _no_advice() -> Iterator[None]:
    """Silence MLflow's warnings about packages. They are about this machine, which need not be able to serve."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def requirements() -> list[str]:
    """Packages that serving needs besides MLflow, in the versions that are installed here."""
    pins = []
    for names in _NEEDED:
        for name in names:
            with suppress(importlib.metadata.PackageNotFoundError):
                pins.append(f"{names[0]}=={importlib.metadata.version(name)}")
                break
    return [f"mlflow=={mlflow.__version__}", *pins]


def download(source: str, uri: str, folder: Path) -> tuple[str, Path]:
    """Fetch the bundle of models:/NAME/VERSION or models:/NAME@ALIAS from the registry at `uri` into `folder`.

    Returns:
        models:/NAME/VERSION, and the bundle's folder.

    Raises:
        CheckpointError: there is no such model, version or alias, faceparse did not register it, or its files are gone.
        TrackingError: MLflow cannot be reached.
    """
    parts = re.fullmatch(rf"{SCHEME}(?P<name>[^/@]+)(/(?P<number>\d+)|(@|/(?={LATEST}$))(?P<alias>[\w-]+))", source)
    if parts is None:
        raise CheckpointError(
            f"{source}: write {SCHEME}NAME/VERSION or {SCHEME}NAME@ALIAS, such as models:/face@latest"
        )
    with _talking(uri, f"{source} is not loaded", must_exist=True, follow=False) as client:
        version = _find(client, source, uri, **parts.groupdict())
        exact = f"{SCHEME}{version.name}/{version.version}"
        location = client.get_model_version_download_uri(version.name, version.version)
        if is_local(uri):
            location = beside(database_file(uri), location)
    if OURS not in version.tags:
        raise CheckpointError(f"{exact}: was not registered by 'faceparse export --register'; take one that was")
    try:
        there = download_artifacts(
            f"{location}/artifacts/{BUNDLE}",
            dst_path=str(folder),
            tracking_uri=whole_address(uri),
            registry_uri=whole_address(uri),
        )
    except FAILURES as error:
        raise CheckpointError(
            f"{exact}: its files cannot be fetched from {location} ({reason(error)}); "
            "where they are gone, export and register it again"
        ) from None
    return exact, Path(there)


def _find(
    client: MlflowClient, source: str, uri: str, *, name: str, number: str | None, alias: str | None
) -> ModelVersion:
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = [one.name for one in client.search_registered_models()]
        raise CheckpointError(
            f"{source}: no model {name!r} in MLflow at {uri}{nearest(name, known)}; "
            "'faceparse export CHECKPOINT --register NAME' makes one"
        ) from None
    versions = {str(version.version): version for version in client.search_model_versions(f"name = '{name}'")}
    numbers = sorted(versions, key=int)
    aliases = {key: str(value) for key, value in model.aliases.items()}
    if numbers:
        aliases[LATEST] = numbers[-1]
    found = versions.get(number or aliases.get(alias or "", ""))
    if found is None:
        there = ", ".join([*numbers, *(f"@{key}" for key in aliases)]) or "no version"
        raise CheckpointError(f"{source}: not in MLflow at {uri}; {name!r} there has {there}")
    return found
