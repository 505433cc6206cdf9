from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.runs.tracking_record import TrackingRecord, read_tracking, write_tracking


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"uri": "x"}'):
        (tmp_path / "tracking.json").write_text(content)
        with pytest.raises(SettingsError) as caught:
            read_tracking(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/tracking.json: cannot be read (")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret", "link/secret"])
def test_a_file_outside_the_run_directory_is_never_delivered(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    tracking = TrackingRecord("sqlite:///a.db", "x", "r", "k", 1.0, {}, {}, files={name: None})
    write_tracking(folder, tracking)
    with pytest.raises(SettingsError, match=f"tracking.json: names {name!r}, which lies outside the run directory"):
        read_tracking(folder)
