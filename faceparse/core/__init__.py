"""Everything that the commands use. `docs/contributing.md` lists the folders; each imports only those before it."""
