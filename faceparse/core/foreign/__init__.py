"""ONNX files of other projects: their description, a check of the file, and the bundle that is made of it."""
