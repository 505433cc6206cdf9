"""Files on disk: read whole, written whole or not at all, known by their content. All writing passes through here."""
