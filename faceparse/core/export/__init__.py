"""Export of a trained network to ONNX, TorchScript, pt2 and safetensors: verified files, bundles, model cards."""
