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

Refused = dict[str, str]
"""Name -> why MLflow refuses it for its content, however often it is asked."""


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow refuses a value for its content, so that another try is useless."""
    return isinstance(error, MlflowException) and error.error_code == "INVALID_PARAMETER_VALUE"


def advice(error: BaseException) -> str:
    """End of an error message: try again, or nothing where waiting does not help."""
    code = error.error_code if isinstance(error, MlflowException) else ""
    lasting = isinstance(error, GoneError | WithheldError) or is_refusal(error) or code == "RESOURCE_DOES_NOT_EXIST"
    return "" if lasting else "; try again when it is back"


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
