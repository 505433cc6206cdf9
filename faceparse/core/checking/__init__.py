"""Finds what is wrong with a prepared dataset. Each file has one idea."""
