"""Answers of MLflow's model server, built upon `runtime`, without PyTorch."""
