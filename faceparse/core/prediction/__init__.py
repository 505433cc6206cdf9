"""What `predict` does: photographs, films and cameras -> labels, overlays, polygons."""
