"""Raw datasets -> the canonical layout: one file for each dataset, edge maps, archives."""
