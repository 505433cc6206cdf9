"""Sweeps: many runs of one experiment, in search of the best."""
