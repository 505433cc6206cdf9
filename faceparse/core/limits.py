"""Limits on what files may ask for."""

LARGEST_SIDE = 2048
"""Longest side of a network's input in pixels. A stranger's file could otherwise keep a machine busy for minutes."""

LARGEST_PHOTOGRAPH = 2**30
"""Most bytes of a photograph that is read from a tar or from elsewhere."""
