"""Networks: backbones, norm layers, heads, and their sizes in `build.py`. No files, no training."""
