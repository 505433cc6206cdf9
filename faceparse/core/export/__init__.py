"""Export of a trained network to other formats (see `formats.py`): verified files, bundles, model cards."""
