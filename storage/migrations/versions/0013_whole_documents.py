"""Let nothing be added to a document that has its number; changes of what is sold may wait for their day."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the database refuse more, and add a column; no row changes."""
    op.execute(
        """
-- Whether what follows from an event, as the plan of a line, is still to be done on its day.
ALTER TABLE subscription_event ADD COLUMN waits boolean NOT NULL DEFAULT false;
CREATE INDEX subscription_event_waiting ON subscription_event (on_day) WHERE waits AND cancelled_at IS NULL;

CREATE FUNCTION issued_document_is_whole() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    whole bigint;
BEGIN
    -- One look-up by its key for each document, whatever the planner believes of the table.
    SELECT a.document_id INTO whole
        FROM (SELECT DISTINCT document_id FROM added WHERE document_id IS NOT NULL) AS a
        CROSS JOIN LATERAL (SELECT number FROM document WHERE id = a.document_id OFFSET 0) AS d
        WHERE d.number IS NOT NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'document % has its number, so its lines never change; issue another one', whole
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER issued_document_is_whole AFTER INSERT ON document_line REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION issued_document_is_whole();

CREATE FUNCTION gathered_line_is_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM document WHERE id = NEW.document_id AND number IS NOT NULL) THEN
        RAISE EXCEPTION 'document % has its number, so its lines never change; issue another one', NEW.document_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
-- Of what was charged day by day, which gets its document later.
CREATE TRIGGER gathered_line_is_new AFTER UPDATE ON document_line
    FOR EACH ROW WHEN (OLD.document_id IS NULL AND NEW.document_id IS NOT NULL) EXECUTE FUNCTION gathered_line_is_new();

CREATE FUNCTION documents_are_never_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'documents are never deleted; credit them instead' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER documents_are_never_emptied BEFORE TRUNCATE ON document EXECUTE FUNCTION documents_are_never_emptied();
CREATE TRIGGER documents_are_never_emptied BEFORE TRUNCATE ON document_line
    EXECUTE FUNCTION documents_are_never_emptied();

CREATE FUNCTION posting_of_document_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'document % never changes; issue another one', OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
-- Beside what it says: how it was paid and posted, and what made it once.
CREATE TRIGGER posting_of_document_stays BEFORE UPDATE ON document
    FOR EACH ROW WHEN (
        (OLD.paid_at_once, OLD.posted_daily, OLD.key, OLD.made_at)
        IS DISTINCT FROM (NEW.paid_at_once, NEW.posted_daily, NEW.key, NEW.made_at)
    ) EXECUTE FUNCTION posting_of_document_stays();
"""
    )
