"""A trained network as a function from photographs to label maps, and the checkpoints that it is read from."""
