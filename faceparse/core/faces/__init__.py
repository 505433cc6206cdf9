"""Where faces are: five points, alignment, the finder that needs no second model, YuNet, and the crops of faces."""
