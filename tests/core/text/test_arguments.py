import pytest

from faceparse.core.errors import DatasetError, InterruptedRunError, SettingsError
from faceparse.core.text.arguments import named_as_in_python


@named_as_in_python
def score(model: str, *, data_dir: str = "", split: str = "test") -> str:
    """Return what it got."""
    if split == "stop":
        raise InterruptedRunError("stopped; go on with --split test", 130)
    if not data_dir:
        raise DatasetError(f"--split {split!r}: give --data-dir, not --num-classes; see 'a--data-dir'")
    return f"{model} {data_dir} {split}"


def test_its_arguments_are_named_as_in_python_and_other_options_are_left() -> None:
    assert score("m", data_dir="d") == "m d test"
    assert (score.__name__, score.__doc__) == ("score", "Return what it got.")
    with pytest.raises(DatasetError) as caught:
        score("m")
    assert str(caught.value) == "split 'test': give data_dir, not --num-classes; see 'a--data-dir'"


def test_an_interruption_keeps_its_exit_code() -> None:
    with pytest.raises(InterruptedRunError) as caught:
        score("m", split="stop")
    assert (str(caught.value), caught.value.exit_code) == ("stopped; go on with split test", 130)


def test_a_mistyped_argument_is_named() -> None:
    for typed, message in (
        ("datadir", "score: has no argument 'datadir'; did you mean 'data_dir'?"),
        ("x", "score: has no argument 'x'; it has model, data_dir, split"),
    ):
        with pytest.raises(SettingsError) as caught:
            score("m", **{typed: 1})  # type: ignore[arg-type]  # the mistake
        assert str(caught.value) == message


def test_a_function_of_any_arguments_checks_them_itself() -> None:
    @named_as_in_python
    def make(**options: object) -> None:
        raise SettingsError(f"--on-missing: has no effect with {options}")

    with pytest.raises(SettingsError, match="^on_missing: has no effect with {'val': 1}$"):
        make(val=1)
