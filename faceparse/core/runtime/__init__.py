"""Run exported ONNX files without PyTorch; read and check their metadata and checksums."""
