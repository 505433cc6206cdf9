"""One file a command: typed options in, one function of `core`, what it gives shown."""
