"""The code that MLflow runs when it loads a registered model. It copies this file into the model ("models from code").

The file needs the package, which lies beside it in the model. Nothing there needs PyTorch.
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
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.serving.answers import answer


class RefusedError(MlflowException):
    """A request that cannot be answered: status 400, and one line with the reason."""

    def __init__(self, line: str) -> None:
        self._line = line
        super().__init__(line, error_code=BAD_REQUEST)

    @property
    def message(self) -> str:
        """The line."""
        return self._line

    @message.setter
    def message(self, _: str) -> None:
        """Ignore the new text: the scoring server would put all data of the request before the line."""


class ServableModel(PythonModel):
    """Photographs in the column `image` -> label maps; see `answer`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Check and open the model's bundle."""
        self._model = open_onnx(check_sums(Path(context.artifacts[BUNDLE])))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Parse the photographs. Wrong input raises `RefusedError`."""
        try:
            return answer(self._model, list(model_input["image"]), **(params or {}))
        except (DatasetError, SettingsError) as error:
            raise RefusedError(str(error)) from None


set_model(ServableModel())
