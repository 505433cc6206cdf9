"""Settings of runs, and a run to compare with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.settings import Settings, load_settings
from faceparse.core.training.run import RunResult, train
from tests.conftest import TINY, Tiny
from tests.core.training.recorded import RESNET, Watcher


@pytest.fixture(scope="module")
def make(faces: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings like those of `tiny`, for runs that several tests look at."""

    def make(**changes: object) -> Settings:
        options = {key.replace("__", "."): value for key, value in changes.items()}
        place = {"data.root": faces, "tracking.uri": store, "train.run_dir": tmp_path_factory.mktemp("runs") / "run"}
        return load_settings(options={**TINY, **place, **options})

    return make


@pytest.fixture(scope="module")
def reference(make: Callable[..., Settings]) -> RunResult:
    """Three epochs without interruption. Not to be written to."""
    return train(make(train__epochs=3), Watcher())


@pytest.fixture
def paper(tiny: Tiny) -> Tiny:
    """As `tiny`, of the paper's network."""

    def make(**changes: object) -> Settings:
        return tiny(**RESNET, **changes)

    return make
