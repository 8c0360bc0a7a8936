# ruff: noqa: INP001 (Alembic runs this file by path; it is no module)
"""How Alembic runs Caudal's migrations: on the connection that `storage.migrate` hands over.

Rule: one transaction a migration, so that a failing one leaves those before it in force and itself no trace.
"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
