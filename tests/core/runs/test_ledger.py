from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.runs.ledger import read_ledger


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"uri": "x"}'):
        (tmp_path / "tracking.json").write_text(content)
        with pytest.raises(SettingsError) as caught:
            read_ledger(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/tracking.json: cannot be read (")
        assert "\n" not in str(caught.value)
