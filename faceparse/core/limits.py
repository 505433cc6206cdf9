"""Limits on what files may ask for."""

LARGEST_SIDE = 2048
"""Longest side of a network's input in pixels. A stranger's file could otherwise keep a machine busy for minutes."""
