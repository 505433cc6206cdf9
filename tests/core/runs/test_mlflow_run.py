import pytest

from faceparse.core.runs.mlflow_run import LoggedRun


@pytest.mark.parametrize(
    ("params", "tags", "expected"),
    [
        ({"train.epochs": "200"}, {}, 200),
        ({"train.epochs": "200"}, {"epochs": "400"}, 400),  # extended: MLflow keeps the first param
        ({"train.epochs": "200"}, {"epochs": "many"}, None),
        ({}, {}, None),
    ],
)
def test_the_epochs_of_a_run_are_those_of_its_newest_end(
    params: dict[str, str], tags: dict[str, str], expected: int | None
) -> None:
    run = LoggedRun("sqlite:///x", "a" * 32, "run", "faces", "FINISHED", 0.0, None, None, params, tags, {})
    assert run.wanted_epochs == expected
