"""Exported files without PyTorch: their metadata, their checksums, and how to run them."""
