"""Find and align faces: five points, alignment, the finder that needs no second model, YuNet, and crops of faces."""
