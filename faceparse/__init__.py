"""Face parsing with EAGRNet, from raw photographs to a scored and exported model."""

__version__ = "0.1.0"
