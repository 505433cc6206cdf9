"""The canonical layout -> batches: samples, augmentation, their order, the cache, loader processes."""
