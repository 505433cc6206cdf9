"""From the canonical layout to batches: samples, augmentation, order, cache, loader processes."""
