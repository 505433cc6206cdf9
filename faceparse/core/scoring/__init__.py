"""Predictions and truth -> counts, scores, intervals, reports. Also protocols and test-time augmentation."""
