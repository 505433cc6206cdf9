"""A trained network -> ONNX, TorchScript, pt2, safetensors: verified files, bundles, model cards."""
