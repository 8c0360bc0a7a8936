"""Let an index of open sessions serve only the question it was made for.

Rule: each says that the column it begins with is given. A question by another column can then not be answered by
reading it from end to end, which PostgreSQL prefers as long as it believes that no session is open.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both indexes again."""
    op.execute(
        """
DROP INDEX session_open_service, session_open_line;
CREATE INDEX session_open_service ON session (service_id) WHERE state = 0 AND service_id IS NOT NULL;
CREATE INDEX session_open_line ON session (router_id, line) WHERE state = 0 AND router_id IS NOT NULL;
"""
    )
