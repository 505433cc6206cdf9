"""The address of an MLflow store, without what only its user may know.

What is written or printed anywhere is the address without user and password. The whole of it stays in the
environment, as MLFLOW_TRACKING_URI, where processes that are started find it, too.
"""

import os
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

VARIABLE = "MLFLOW_TRACKING_URI"
_SECRET = {"user", "username", "password", "passwd", "token", "sslpassword"}
"""Keys of a database's address."""


def public_address(address: str) -> str:
    """The address without user, password and token; one that has none stays as it is, letter by letter."""
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return address
    kept = [(key, value) for key, value in pairs if key.lower() not in _SECRET]
    if "@" not in parts.netloc and kept == pairs:
        return address
    netloc, query = parts.netloc.rpartition("@")[2], urlencode(kept)
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def keep_secrets(address: str) -> None:
    """Let this process and those that it starts reach the address, which somebody typed, by its public form."""
    if public_address(address) != address:
        os.environ[VARIABLE] = address


def whole_address(public: str) -> str:
    """The address with user and password, where the environment holds them."""
    held = os.environ.get(VARIABLE, "")
    return held if public_address(held) == public else public


def without_secrets(text: str) -> str:
    """A library's message without the user and password of any address in it."""
    return re.sub(r"(?<=://)[^/\s'\"]+@", "", text)
