import gzip
import json
from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.training.profile import ITERATIONS, PARTS, profile_step
from tests.conftest import Silent, Tiny


def test_it_leaves_a_table_whose_parts_fill_the_iteration_and_a_trace(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    found = profile_step(tiny(tracking__enabled=False), Silent())
    assert tuple(part.name for part in found.parts) == PARTS
    assert all(part.host > 0 and part.gpu is None for part in found.parts)
    assert sum(part.host for part in found.parts) < 1.05 * found.iteration  # they do not overlap
    assert found.update_size == 4
    assert sorted(path.name for path in found.folder.iterdir()) == ["table.txt", "trace.json.gz"]
    assert found.folder.parent == Path("runs/faceparse")
    assert list(Path("runs").rglob("*.pth")) == []
    trace = json.loads(gzip.decompress((found.folder / "trace.json.gz").read_bytes()))
    names = [event.get("name") for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    assert names.count("forward") == ITERATIONS
    assert "aten::convolution_backward" in (found.folder / "table.txt").read_text()


@pytest.mark.parametrize("where", [{"launch__processes": 2}, {"train__device": "cuda:0,1"}], ids=str)
def test_it_looks_at_one_process(tiny: Tiny, where: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="--profile looks at one process"):
        profile_step(tiny(**where), Silent())
