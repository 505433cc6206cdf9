"""Label sets, which say what each id means, and counts of labelled pixels. A new set is a file in `sets/`."""
