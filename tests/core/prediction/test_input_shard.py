import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.prediction.input_shard import InputShard, read_input_shard


def test_each_path_is_in_one_part_and_stays_there() -> None:
    paths = [f"trip/{n}.jpg" for n in range(2000)] + ["ü.jpg", "broken-\udcff.jpg"]
    parts = [{path for path in paths if InputShard(i, 16).has(path)} for i in range(1, 17)]
    assert sum(map(len, parts)) == len(paths)
    assert set.union(*parts) == set(paths)
    assert max(map(len, parts)) < 2 * min(map(len, parts))
    assert [next(i for i in range(1, 17) if InputShard(i, 16).has(path)) for path in ("a.jpg", "b/c.png")] == [11, 16]


def test_a_shard_is_read() -> None:
    assert read_input_shard(" 3/16") == InputShard(3, 16)
    assert str(InputShard(3, 16)) == "3/16"


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "1/10001", "a/b", "1/2/3", "²/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--shard .*: write 1/16 to 16/16 for 16 parts"):
        read_input_shard(text)
