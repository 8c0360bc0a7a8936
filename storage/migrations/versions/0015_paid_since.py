"""Remember since when somebody else pays for a customer."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Take it for always of those for whom somebody pays now."""
    op.execute("ALTER TABLE customer ADD COLUMN paid_since date")
