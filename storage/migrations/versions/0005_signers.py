"""Remember which sources have signed their Access-Requests, for all workers and over restarts."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.execute(
        """
-- Sources from which Message-Authenticator came: under "auto" nothing without it is taken from them any more.
CREATE TABLE signer (
    router_id integer NOT NULL REFERENCES router,
    host text NOT NULL,
    PRIMARY KEY (router_id, host)
);
"""
    )
