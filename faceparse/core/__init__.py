"""All that the commands stand on. `docs/contributing.md` lists the folders from the ground up."""
