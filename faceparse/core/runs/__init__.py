"""A run on disk and in MLflow: its directory, and delivery to MLflow, for which training never waits."""
