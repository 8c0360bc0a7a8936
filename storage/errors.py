"""What can go wrong between Caudal and its database.

Rule: each says in one sentence what happened, where, and what to do.
"""

from __future__ import annotations

from domain.errors import CaudalError


class StorageError(CaudalError):
    """The database cannot do what was asked of it."""


class EmbeddedPostgresError(StorageError):
    """The embedded PostgreSQL cannot run."""


class DatabaseUnavailableError(StorageError):
    """The database cannot be reached, or does not let us in."""


class SchemaError(StorageError):
    """The schema in the database and the one this release expects do not fit."""


class OrderRefused(StorageError):
    """What was ordered cannot be done as things are; the order is the mistake."""
