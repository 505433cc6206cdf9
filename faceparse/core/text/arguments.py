"""Messages that name the arguments of a Python function, where they were written for options of a command."""

import difflib
import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from faceparse.core.errors import FaceparseError, SettingsError

P = ParamSpec("P")
T = TypeVar("T")

_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")


def named_as_in_python(work: Callable[P, T]) -> Callable[P, T]:
    """Return the function, with errors that name its arguments as Python does: `data_dir` for `--data-dir`.

    An argument that it does not take is a SettingsError, too.
    """
    parameters = inspect.signature(work).parameters
    any_name = any(one.kind is one.VAR_KEYWORD for one in parameters.values())

    def in_python(option: re.Match[str]) -> str:
        name = option[1].replace("-", "_")
        return name if any_name or name in parameters else option[0]

    @wraps(work)
    def called(*args: P.args, **keywords: P.kwargs) -> T:
        if not any_name and (unknown := next((name for name in keywords if name not in parameters), None)):
            close = difflib.get_close_matches(unknown, parameters, n=1, cutoff=0.5)
            known = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(parameters)}"
            raise SettingsError(f"{work.__name__}: has no argument {unknown!r}; {known}")
        try:
            return work(*args, **keywords)
        except FaceparseError as error:
            error.args = (_OPTION.sub(in_python, str(error)), *error.args[1:])
            raise

    return called
