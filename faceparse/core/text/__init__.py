"""Text that people and strangers write: paths, lists, TOML, JSON, addresses. Bad text is refused here."""
