"""Answers of a model server, without PyTorch."""
