"""Find a model's file by its name: shipped, in a folder, on the hub, on the web; and upload one to the hub."""
