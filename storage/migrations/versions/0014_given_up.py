"""Tell apart whom a debt made inactive, and whom somebody gave up."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let those who are inactive stay so until somebody takes them back."""
    op.execute(
        """
ALTER TABLE rest DROP CONSTRAINT rest_cause_check,
    ADD CONSTRAINT rest_cause_check CHECK (cause IN ('vacation', 'no_balance', 'debt', 'given_up'));
UPDATE rest SET cause = 'given_up' WHERE cause = 'debt' AND ends IS NULL;
"""
    )
