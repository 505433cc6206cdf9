"""Raw datasets -> the canonical layout: one file a dataset, alignment, edge maps, archives."""
