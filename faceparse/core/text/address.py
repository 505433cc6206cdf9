"""The address of an MLflow store, without what only its user may know.

What is written or printed anywhere is the address without user and password. The whole of it stays in the
environment, as MLFLOW_TRACKING_URI, where processes that are started find it, too.
"""

import os
import re
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

VARIABLE = "MLFLOW_TRACKING_URI"
_SECRET = {
    *("user", "username", "password", "passwd", "pwd", "token", "access_token", "api_key", "apikey", "sslpassword"),
    "odbc_connect",
}
"""Keys of a database's address."""


def public_address(address: str) -> str:
    """The address without user, password and token; one that has none stays as it is, letter by letter."""
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return _without_user(address)
    if "@" in parts.path + parts.query + parts.fragment and _is_cut(address, parts):
        return _without_user(address)
    kept = [(key, value) for key, value in pairs if key.lower() not in _SECRET]
    if "@" not in parts.netloc and kept == pairs:
        return address
    netloc, query = parts.netloc.rpartition("@")[2], urlencode(kept)
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def _is_cut(address: str, parts: SplitResult) -> bool:
    """Whether a scheme that was forgotten, or a / ? or # in a password, parts what belongs together."""
    if "://" not in address:
        return ":" in address.partition("@")[0] and not address.startswith(("/", "."))
    try:
        return parts.port is None and ":" in parts.netloc and not parts.netloc.endswith("]")
    except ValueError:  # what stands in a port's place is no number
        return True


def _without_user(address: str) -> str:
    """Of an address that is none: everything between its scheme and its last @ is taken for a user and a password."""
    scheme, sign, rest = address.rpartition("://")
    return f"{scheme}{sign}{rest.rpartition('@')[2]}"


def keep_secrets(address: str) -> None:
    """Let this process and those that it starts reach the address, which somebody typed, by its public form: with the
    user and password in it, or those of the environment.
    """
    if public_address(address) != address or withheld(address):
        os.environ[VARIABLE] = address


def whole_address(public: str) -> str:
    """The address with user and password, where the environment holds them."""
    held = os.environ.get(VARIABLE, "")
    return held if public_address(held) == public else public


def withheld(address: str) -> str:
    """Why a server that a file of a run names is not asked: the environment's user and password may be for another
    one. Empty where it may be asked.
    """
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    held = [name for name in names if os.environ.get(name)]
    meant = public_address(os.environ.get(VARIABLE, "")) == public_address(address)
    if not held or meant or not address.startswith(("http://", "https://")):
        return ""
    return f"only a run's file names it, and {held[0]} may be for another server; if it is yours, set {VARIABLE} to it"


def without_secrets(text: str) -> str:
    """A library's message without the user and password of any address in it."""
    return re.sub(r"(?<=://)[^/\s'\"]+@", "", text)
