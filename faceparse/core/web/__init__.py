"""A local page to try a model: it takes a photograph, shows its parsing, and keeps nothing."""
