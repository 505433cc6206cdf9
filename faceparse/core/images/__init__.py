"""Pictures as arrays: strict reading of photographs and labels, encoding, warping, cropping, overlays."""
