"""MLflow's failures in our words: what cannot be reached, what is refused for ever, and why."""

import sqlite3

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from faceparse.core.text.address import without_secrets


class GoneError(Exception):
    """The run was deleted in MLflow."""


class WithheldError(Exception):
    """The server is not asked, because it would get the environment's user and password."""


FAILURES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, GoneError, WithheldError)
"""Errors of a store that does not work; errors of requests are OSErrors."""

_LASTING_STATUS = (400, 401, 403, 404, 405, 413, 414, 422)
"""Answers of HTTP to a request that needs other content, other rights or another address."""
_REFUSAL = "INVALID_PARAMETER_VALUE"
_LASTING = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "NOT_IMPLEMENTED", "ENDPOINT_NOT_FOUND")
"""MLflow's codes for the same."""
_UNFIT_PATH = "Invalid artifact path"
"""MLflow's client says so of a path among the artifacts, with the code of a failure."""
_UNKNOWN_PLACE = "Could not find a registered artifact repository"
"""MLflow's words for an experiment whose files lie where nothing here can write."""

Refused = dict[str, str]
"""Name -> why MLflow refuses it for its content, however often it is asked."""


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow refuses a value for its content, so that another try is useless."""
    if isinstance(error, MlflowException):
        return error.error_code == _REFUSAL or str(error).startswith(_UNFIT_PATH)
    return _status(error) == 400 and _REFUSAL in str(error)  # of a server that keeps the files


def _status(error: BaseException) -> int:
    """Status with which a server answered; 0 where it gave none."""
    return getattr(getattr(error, "response", None), "status_code", 0)


def advice(error: BaseException) -> str:
    """End of an error message: whether another try helps. Empty where the error itself says what to do."""
    code = error.error_code if isinstance(error, MlflowException) else ""
    if isinstance(error, GoneError | WithheldError) or code == "RESOURCE_DOES_NOT_EXIST":
        return ""
    lasting = is_refusal(error) or code in _LASTING or _status(error) in _LASTING_STATUS
    if lasting or isinstance(error, ImportError) or _UNKNOWN_PLACE in str(error):
        return "; trying again does not help before this is changed"
    return "; try again when it is back"


def told(uri: str, refused: Refused) -> str:
    """One-line warning about what MLflow refuses."""
    names, why = list(refused), next(iter(refused.values()))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"MLflow at {uri} refuses {', '.join(names[:3])}{more} ({why}); left out there, all the rest is delivered"


def reason(error: BaseException) -> str:
    """Cause of an error in one line.

    MLflow wraps the message of a socket or a database in pages of text; this returns the message itself.
    """
    said, root = error, error
    while root.__context__ is not None:
        root = root.__context__
        if isinstance(root, DBAPIError) and root.orig is not None:
            said = root.orig
    text = (root.strerror or str(root) if isinstance(root, OSError) else str(said)).strip()
    return without_secrets(text.splitlines()[0])[:160] if text else type(error).__name__
