"""Predictions and truth -> counts, scores, intervals, reports; protocols and test-time augmentation."""
