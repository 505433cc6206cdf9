"""Label sets: which id means which part of the face; and counts of labelled pixels. A new set is a file in `sets/`."""
