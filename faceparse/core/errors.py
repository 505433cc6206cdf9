"""Errors that a user can fix. Each message is one line: what, where (file or key), how to fix."""


class FaceparseError(Exception):
    """Base of all errors that `cli.py` turns into one line and exit code 2."""

    agreed = False
    """Whether all processes of a training run raise it together."""


class SettingsError(FaceparseError):
    """An option, an environment variable or a TOML key is unknown or has a bad value."""


class DatasetError(FaceparseError):
    """A dataset, list, image or label cannot be used."""


class ProblemsError(DatasetError):
    """Several files of a dataset cannot be used. The message names the first ten, commands show all."""

    def __init__(self, summary: str, problems: tuple[str, ...], hint: str = "") -> None:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        super().__init__(f"{summary}: {'; '.join(problems[:10])}{more}{hint}")
        self.summary, self.problems, self.hint = summary, problems, hint

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...], str]]:  # processes send it to each other
        return type(self), (self.summary, self.problems, self.hint)


class ColourLabelError(DatasetError):
    """A label is a colour picture instead of class ids."""


class CheckpointError(FaceparseError):
    """A weights file cannot be read or does not fit."""


class DeviceError(FaceparseError):
    """A device that was asked for is not there."""


class OutputError(FaceparseError):
    """A file or folder cannot be written."""


class ResourceError(FaceparseError):
    """The machine has too little of something."""


class TrainingError(FaceparseError):
    """A training run must stop."""


class LostProcessError(FaceparseError):
    """Another process of a training run died, or does not answer."""


class InterruptedRunError(FaceparseError):
    """A run was told to stop and has written its checkpoint."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type, tuple[str, int]]:  # processes send it to each other
        return type(self), (str(self), self.exit_code)


class TrackingError(FaceparseError):
    """MLflow cannot be reached, has no such run or model, or does not take what is sent."""


class HubError(FaceparseError):
    """The hub does not take a model."""


class ExportError(FaceparseError):
    """A model could not be exported, or the exported file does not agree with PyTorch."""


def first_line(error: BaseException, longest: int = 160) -> str:
    """Return the first line of a library's error, for use in one of our messages; its class where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:longest]
