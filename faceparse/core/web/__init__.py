"""A page on this machine to try a model: one photograph in, its parsing out, nothing kept."""
