"""What the storage room decides without a database."""
