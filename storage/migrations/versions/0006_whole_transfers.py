"""Check each transfer once, at the commit: its postings come together and none is ever added."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the first posting answer for its transfer, and refuse any that comes without it."""
    op.execute(
        """
DROP TRIGGER transfer_is_balanced ON posting;
CREATE CONSTRAINT TRIGGER transfer_is_balanced AFTER INSERT ON posting DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.number = 1) EXECUTE FUNCTION transfer_is_balanced();

CREATE FUNCTION transfer_is_whole() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    torn bigint;
BEGIN
    SELECT transfer_id INTO torn FROM added GROUP BY transfer_id HAVING min(number) <> 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the postings of transfer % do not come together; post another transfer', torn
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER transfer_is_whole AFTER INSERT ON posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION transfer_is_whole();
"""
    )
