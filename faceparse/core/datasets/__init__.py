"""Raw datasets -> the canonical layout: one file for each dataset, alignment, edge maps, archives."""
