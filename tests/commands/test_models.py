import json
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.names import catalogue
from faceparse.core.names.shipped import DEFAULT


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "hub_cache", lambda: tmp_path / "hub")


def test_models_are_shown_with_their_terms(cli: Any, shipped: Path) -> None:
    done = cli("models")
    assert (done.code, done.err) == (0, "")
    (row,) = (line.split() for line in done.out.splitlines() if DEFAULT in line)
    size = (shipped / f"{DEFAULT}.safetensors").stat().st_size / 1e6
    assert row[:6] == [DEFAULT, "19", "of", "celebamask-hq", f"{size:.1f}", "81.25"]
    assert "research only" in done.out
    assert str(shipped / f"{DEFAULT}.safetensors") in done.out


def test_programs_get_json(cli: Any, shipped: Path) -> None:
    (one,) = json.loads(cli("models", "--json").out)
    assert one["name"] == DEFAULT
    assert one["path"] == str(shipped / f"{DEFAULT}.safetensors")
    assert set(one) == {"name", "path", "classes", "label_set", "size", "score", "scored", "licence"}


def test_nothing_at_all_is_said(cli: Any, shipped: Path) -> None:
    (shipped / f"{DEFAULT}.safetensors").unlink()
    assert cli("models").out.startswith("no models here; ")
    assert json.loads(cli("models", "--json").out) == []
