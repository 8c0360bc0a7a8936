"""Number vouchers within their batch, and say of top-ups what was charged and how."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was bought before was charged to nobody."""
    op.execute(
        """
-- Nothing has made vouchers before this: the table is empty.
ALTER TABLE voucher ADD COLUMN number integer NOT NULL;
ALTER TABLE voucher ADD UNIQUE (batch_id, number);
DROP INDEX voucher_batch_of;

ALTER TABLE top_up ADD COLUMN charge text NOT NULL DEFAULT 'none'
    CHECK (charge IN ('none', 'balance', 'invoice', 'voucher'));
ALTER TABLE top_up DROP CONSTRAINT top_up_origin_check;
ALTER TABLE top_up ADD CHECK (origin IN ('operator', 'automatic', 'subscriber', 'voucher'));
"""
    )
