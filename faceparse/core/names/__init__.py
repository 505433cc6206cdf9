"""A model's name -> its file: shipped, in a folder, on the hub, on the web."""
