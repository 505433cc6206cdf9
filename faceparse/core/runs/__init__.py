"""A run on disk and in MLflow: run directory, ledger of what MLflow still lacks, store, model registry."""
