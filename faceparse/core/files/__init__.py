"""Read files whole, write files whole or not at all, and tell files by their content. All output goes through here."""
