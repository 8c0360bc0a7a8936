"""Number the entries of the bank, and let one that is matched wait for its booking."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the number by which operators name an entry, and the state between a file and its payments."""
    op.execute(
        """
ALTER TABLE bank_entry ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE;
ALTER TABLE bank_entry DROP CONSTRAINT bank_entry_state_check;
ALTER TABLE bank_entry ADD CONSTRAINT bank_entry_state_check
    CHECK (state IN ('matched', 'booked', 'open', 'ignored'));
CREATE INDEX bank_entry_matched ON bank_entry (id) WHERE state = 'matched';
-- A direct debit that is returned is known by what it was called when it was collected.
CREATE INDEX bank_entry_end_to_end ON bank_entry ((entry ->> 'end_to_end')) WHERE payment_id IS NOT NULL;
CREATE INDEX bank_entry_payment ON bank_entry (payment_id) WHERE payment_id IS NOT NULL;
"""
    )
