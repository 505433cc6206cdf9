"""From the canonical layout to batches: samples, augmentation, batch size and order, cache, loader processes."""
