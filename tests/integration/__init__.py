"""The storage room against a real PostgreSQL."""
