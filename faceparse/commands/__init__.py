"""One file per command: it takes typed options, calls one function of `core`, and shows the result."""
