"""What MLflow runs when a registered model is loaded: it copies this file into the model ("models from code").

All the rest is the package's own, which lies beside it in the model. None of that needs PyTorch.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.runtime.checksums import BUNDLE, check_sums
from faceparse.core.runtime.onnx_model import open_onnx
from faceparse.core.serving.answers import answer


class RefusedError(MlflowException):
    """A request that cannot be answered: status 400, and one line that says why."""

    def __init__(self, line: str) -> None:
        self._line = line
        super().__init__(line, error_code=BAD_REQUEST)

    @property
    def message(self) -> str:
        return self._line

    @message.setter
    def message(self, _: str) -> None:
        """The scoring server would put all of the request's data before the line."""


class ServableModel(PythonModel):
    """Photographs in the column `image` -> label maps; see `answer`."""

    def load_context(self, context: PythonModelContext) -> None:
        self._model = open_onnx(check_sums(Path(context.artifacts[BUNDLE])))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        try:
            return answer(self._model, list(model_input["image"]), **(params or {}))
        except (DatasetError, SettingsError) as error:
            raise RefusedError(str(error)) from None


set_model(ServableModel())
