"""A trained network as a function from photographs to label maps, and the weights files that hold it."""
