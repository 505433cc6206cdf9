"""One part of the inputs, for many processes that know nothing of each other."""

import hashlib
import os
import re
from dataclasses import dataclass

from faceparse.core.errors import SettingsError

MOST = 10_000
"""Largest number of shards."""


@dataclass(frozen=True)
class InputShard:
    """Part `index` (from 1) of `count` parts."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def has(self, path: str) -> bool:
        """Whether a path belongs to this part. It depends on the path alone, not on other inputs or the machine."""
        digest = hashlib.sha256(os.fsencode(path)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


def read_input_shard(text: str) -> InputShard:
    """Read `3/16`.

    Raises:
        SettingsError: it is no such text, or there is no such part.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
        raise SettingsError(f"--shard {text[:40]}: write 1/16 to 16/16 for 16 parts; there are {MOST} at most")
    return InputShard(int(found[1]), int(found[2]))
