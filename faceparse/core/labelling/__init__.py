"""Labelling by hand: the photographs of a folder, the model's guesses, and what a person makes of them."""
