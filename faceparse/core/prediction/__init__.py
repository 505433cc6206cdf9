"""Does the work of `predict`: photographs, films and cameras -> labels, overlays, polygons."""
