"""A run on disk and in MLflow: its directory, what MLflow still has to hear, the store, the model registry."""
