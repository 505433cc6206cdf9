"""Exported files without PyTorch: what they say of themselves, their checksums, and running them."""
