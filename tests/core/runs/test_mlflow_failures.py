"""Which failures of MLflow pass by themselves, and which do not."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import verify_artifact_path
from requests import HTTPError, Response

from faceparse.core.runs.mlflow_failures import GoneError, advice, is_refusal

AGAIN, USELESS = "; try again when it is back", "; trying again does not help before this is changed"


def answered(status: int, text: str = "") -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(f"{status} Client Error. Response text: {text}", response=response)


@pytest.mark.parametrize("path", ["../up", "/abs", "a//b", ".."])
def test_an_unfit_path_among_the_artifacts_is_a_refusal(path: str) -> None:
    with pytest.raises(MlflowException) as caught:
        verify_artifact_path(path)
    assert is_refusal(caught.value)
    assert advice(caught.value) == USELESS


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MlflowException("x", INVALID_PARAMETER_VALUE), USELESS),
        (MlflowException("x", PERMISSION_DENIED), USELESS),
        (MlflowException("Could not find a registered artifact repository for: xyz://a"), USELESS),
        (answered(400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"}'), USELESS),
        (answered(403), USELESS),
        (answered(413), USELESS),
        (ModuleNotFoundError("No module named 'boto3'"), USELESS),
        (MlflowException("x", RESOURCE_DOES_NOT_EXIST), ""),
        (GoneError("restore it"), ""),
        (answered(408), AGAIN),
        (answered(429), AGAIN),
        (answered(503), AGAIN),
        (MlflowException("x"), AGAIN),
        (ConnectionError("refused"), AGAIN),
    ],
    ids=str,
)
def test_another_try_is_advised_only_where_it_may_help(error: Exception, expected: str) -> None:
    assert advice(error) == expected


def test_only_unfit_content_is_left_out_for_ever() -> None:
    assert is_refusal(answered(400, "INVALID_PARAMETER_VALUE"))
    assert not any(is_refusal(answered(status)) for status in (400, 403, 413, 503))
    assert not is_refusal(ConnectionError("refused"))
