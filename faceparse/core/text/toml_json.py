"""Reads TOML and JSON that anybody may have written: returns the content or raises one kind of error."""

import json
import tomllib
from pathlib import Path
from typing import Any, NoReturn

LARGEST = 4 * 2**20
"""Bytes of the largest TOML file: thousands of times what people write, and still read within seconds."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or is not TOML; the message is one line.
    """
    try:
        with path.open("rb") as file:  # a device never ends: read no more than this
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror or error})") from None
    if len(data) > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MiB")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not a text file in UTF-8") from None
    except RecursionError:
        raise ValueError("not valid TOML: nested too deeply") from None
    except ValueError as error:  # also for a number of thousands of digits
        raise ValueError(f"not valid TOML: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON, or holds NaN or Infinity.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
