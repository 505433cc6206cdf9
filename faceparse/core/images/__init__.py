"""Pictures as arrays: read photographs and labels strictly (and by which suffixes), encode, warp, crop, overlay."""
