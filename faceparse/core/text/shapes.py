"""JSON of a known shape, and what is wrong with data of another shape."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def parse_json_as(kind: type[T], text: str | bytes) -> T:
    """Parse JSON of a known shape, such as a dataclass or a pydantic model; numbers may be NaN.

    Raises:
        ValueError: it is not JSON, or of another shape; the message is one line.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise ValueError(explain(error)) from None


def explain(error: ValidationError) -> str:
    """Say the first problem of a validation error: `scores.f1: input should be a number`."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))[:100]
    if first["type"] == "missing":
        return f"{key!r} is missing"
    message = first["msg"].removeprefix("Value error, ")[:200]
    return f"{key}: {message}" if key else message
