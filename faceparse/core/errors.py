"""Errors that a user can fix. Each message is one line: what, where (file or key), how to fix."""


class FaceparseError(Exception):
    """Base of everything that `cli.py` turns into one line and exit code 2."""

    agreed = False
    """Whether all processes of a training run raise it together."""


class SettingsError(FaceparseError):
    """An option, environment variable or TOML key that is unknown or has a bad value."""


class DatasetError(FaceparseError):
    """A dataset, list, image or label that cannot be used."""


class ColourLabelError(DatasetError):
    """A label that is a colour picture instead of class ids."""


class CheckpointError(FaceparseError):
    """A weights file that cannot be read or does not fit."""


class DeviceError(FaceparseError):
    """A device that was asked for and is not there."""


class OutputError(FaceparseError):
    """A place that cannot be written."""


class ResourceError(FaceparseError):
    """The machine has too little of something."""


class TrainingError(FaceparseError):
    """A run that must stop."""


class LostProcessError(FaceparseError):
    """Another process of a training run died, or does not answer."""


class InterruptedRunError(FaceparseError):
    """A run that was told to stop, once its checkpoint is written."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type, tuple[str, int]]:  # it travels between processes
        return type(self), (str(self), self.exit_code)


class TrackingError(FaceparseError):
    """A record of a run that MLflow does not take."""


class HubError(FaceparseError):
    """A model that the hub does not take."""


class ExportError(FaceparseError):
    """An exported model that could not be made or does not agree with PyTorch."""


def first_line(error: BaseException, longest: int = 160) -> str:
    """Returns the first line of a library's error, to be part of one of ours; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:longest]
