"""Label sets, which say what each id means, mappings between them, and counts. A new set is a file in `sets/`."""
