"""Faces drawn by code, with exact labels: for demos, tests and checks of exported files."""
