"""Programs that only maintainers need."""
