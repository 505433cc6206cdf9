"""Text that people and strangers write: paths, lists, TOML, JSON, addresses. What is none is refused here."""
