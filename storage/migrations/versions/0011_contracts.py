"""Keep contracts as they were agreed, and let orders about sales be done once."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give sales their contracts, orders their keys, and let what is not billed yet be withdrawn."""
    op.execute(
        """
-- The contract in the words of the product when it was sold; its terms are counted from the day on which it began.
ALTER TABLE subscription DROP COLUMN contract_ends,
    ADD COLUMN contract jsonb, ADD COLUMN contract_began date;
ALTER TABLE subscription_event ADD COLUMN key text UNIQUE;
ALTER TABLE one_off ADD COLUMN withdrawn_at timestamptz;
"""
    )
