"""Proformas: what their lines will be charged for; documents whose digest can be computed again; lines that stay."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table and a column, and let the database refuse more."""
    op.execute(
        """
-- Of which subscription a line of a proforma is. The line itself names none: it charges nothing until it is paid.
CREATE TABLE proforma_line (
    line_id bigint PRIMARY KEY REFERENCES document_line,
    subscription_id bigint NOT NULL REFERENCES subscription
);
CREATE INDEX document_proforma ON document (customer_id, due_on) WHERE kind = 'proforma' AND open_amount > 0;

-- How the digest was made: 1 from what was in memory, 2 so that it can be made again from what is stored.
ALTER TABLE document ADD COLUMN digest_form smallint NOT NULL DEFAULT 1;
ALTER TABLE document ALTER COLUMN digest_form SET DEFAULT 2;

CREATE OR REPLACE FUNCTION issued_document_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'document % is never deleted; credit it instead', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF ROW(OLD.kind, OLD.partner_id, OLD.customer_id, OLD.currency, OLD.dated, OLD.due_on, OLD.net, OLD.tax, OLD.gross,
           OLD.digest, OLD.digest_form, OLD.language, OLD.frozen, OLD.credits_document, OLD.payment_id)
       IS DISTINCT FROM
       ROW(NEW.kind, NEW.partner_id, NEW.customer_id, NEW.currency, NEW.dated, NEW.due_on, NEW.net, NEW.tax, NEW.gross,
           NEW.digest, NEW.digest_form, NEW.language, NEW.frozen, NEW.credits_document, NEW.payment_id)
       OR (OLD.number IS NOT NULL AND ROW(OLD.series_id, OLD.number, OLD.position, OLD.hash, OLD.issued_on)
           IS DISTINCT FROM ROW(NEW.series_id, NEW.number, NEW.position, NEW.hash, NEW.issued_on)) THEN
        RAISE EXCEPTION 'document % never changes; issue another one', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION issued_line_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.document_id IS NULL OR OLD.document_id = NEW.document_id THEN
            IF ROW(OLD.id, OLD.position, OLD.customer_id, OLD.subscription_id, OLD.component, OLD.rate,
                   OLD.period_starts, OLD.period_ends, OLD.starts, OLD.ends, OLD.revision, OLD.amount, OLD.net, OLD.tax,
                   OLD.taxes, OLD.includes_tax, OLD.product_id, OLD.unit_price, OLD.quantity, OLD.text,
                   OLD.credits_line, OLD.one_off_id, OLD.discount_id, OLD.usage)
               IS NOT DISTINCT FROM
               ROW(NEW.id, NEW.position, NEW.customer_id, NEW.subscription_id, NEW.component, NEW.rate,
                   NEW.period_starts, NEW.period_ends, NEW.starts, NEW.ends, NEW.revision, NEW.amount, NEW.net, NEW.tax,
                   NEW.taxes, NEW.includes_tax, NEW.product_id, NEW.unit_price, NEW.quantity, NEW.text,
                   NEW.credits_line, NEW.one_off_id, NEW.discount_id, NEW.usage) THEN
                RETURN NEW;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION 'line % never changes; credit it instead', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""
    )
