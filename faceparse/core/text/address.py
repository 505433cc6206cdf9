"""Address of an MLflow store, without the secrets that only its user may know.

Files and messages show the address without user and password. The whole address stays in the environment, as
MLFLOW_TRACKING_URI, where child processes find it, too.
"""

import os
import re
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

VARIABLE = "MLFLOW_TRACKING_URI"
_SECRET = {
    *("user", "username", "password", "passwd", "pwd", "token", "access_token", "api_key", "apikey", "sslpassword"),
    *("odbc_connect", "signature", "sig", "x-amz-signature", "x-amz-credential", "x-amz-security-token"),
    *("x-goog-signature", "x-goog-credential", "awsaccesskeyid", "googleaccessid"),
}
"""Query keys that hold secrets: of a database's address, and of an object's that was signed for its bearer."""


def public_address(address: str) -> str:
    """Return the address without user, password and token; an address that has none is returned unchanged."""
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
    """Whether `urlsplit` cut the address wrongly: the scheme is missing, or a password holds `/`, `?` or `#`."""
    if "://" not in address:
        return ":" in address.partition("@")[0] and not address.startswith(("/", "."))
    try:
        return parts.port is None and ":" in parts.netloc and not parts.netloc.endswith("]")
    except ValueError:  # the port is no number
        return True


def _without_user(address: str) -> str:
    """Return a malformed address without the text between its scheme and its last @, which may hold a password."""
    scheme, sign, rest = address.rpartition("://")
    return f"{scheme}{sign}{rest.rpartition('@')[2]}"


def keep_secrets(address: str) -> None:
    """Let this process and its children reach an address that somebody typed, when they know only its public form.

    The user and password are those in the address, or those of the environment.
    """
    if public_address(address) != address or withheld(address):
        os.environ[VARIABLE] = address


def whole_address(public: str) -> str:
    """Return the address with user and password, if the environment holds them."""
    held = os.environ.get(VARIABLE, "")
    return held if public_address(held) == public else public


def withheld(address: str) -> str:
    """Reason not to contact a server that only a run's file names; empty if it may be contacted.

    The user and password in the environment may be for another server.
    """
    if public_address(os.environ.get(VARIABLE, "")) == public_address(address):
        return ""
    if address.startswith(("databricks", "postgresql", "mysql", "mssql")):
        return (
            f"only a run's file names it, and this machine's logins may be for another server; if it is yours, set "
            f"{VARIABLE} to it"
        )
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    held = [name for name in names if os.environ.get(name)]
    if not held or not address.startswith(("http://", "https://")):
        return ""
    return f"only a run's file names it, and {held[0]} may be for another server; if it is yours, set {VARIABLE} to it"


def without_secrets(text: str) -> str:
    """Return a library's message without the user and password of any address in it."""
    return re.sub(r"(?<=://)[^/\s'\"]+@", "", text)
