"""Keep what is reported of products that are charged by events."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.execute(
        """
-- What happened of something that is sold: units that were used, given (or, below nothing, taken back), or an amount.
CREATE TABLE metered_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id bigint NOT NULL REFERENCES subscription,
    on_day date NOT NULL,
    units numeric NOT NULL CHECK (units <> 0),
    text text NOT NULL DEFAULT '',
    key text NOT NULL UNIQUE,
    made_by text NOT NULL DEFAULT '',
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX metered_event_subscription ON metered_event (subscription_id, on_day);
"""
    )
