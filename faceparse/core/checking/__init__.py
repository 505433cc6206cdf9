"""What is wrong with a prepared dataset: one file an idea."""
