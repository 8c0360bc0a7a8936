"""Keep the gateway's words for cards, and charges and refunds of them."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of cards."""
    op.execute(
        """
-- The gateway's words for a card, never its number.
CREATE TABLE card (
    customer_id bigint PRIMARY KEY REFERENCES customer,
    payer text NOT NULL,
    token text NOT NULL,
    label text NOT NULL DEFAULT '',
    stored_at timestamptz NOT NULL DEFAULT now()
);

-- Pending before the gateway hears of it. "gateway_key" is what the gateway does once.
CREATE TABLE card_charge (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customer,
    payer text NOT NULL,
    token text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    documents bigint[] NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'succeeded', 'failed')),
    payment_id bigint UNIQUE REFERENCES payment,
    gateway_id text UNIQUE,
    why text NOT NULL DEFAULT '',
    key text NOT NULL UNIQUE,
    gateway_key text NOT NULL UNIQUE,
    made_by text NOT NULL DEFAULT '',
    made_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'succeeded') = (payment_id IS NOT NULL))
);
CREATE INDEX card_charge_customer ON card_charge (customer_id);
CREATE INDEX card_charge_pending ON card_charge (id) WHERE state = 'pending';

CREATE TABLE card_refund (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    charge_id bigint NOT NULL REFERENCES card_charge,
    amount bigint NOT NULL CHECK (amount > 0),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'succeeded', 'failed')),
    gateway_id text UNIQUE,
    why text NOT NULL DEFAULT '',
    key text NOT NULL UNIQUE,
    gateway_key text NOT NULL UNIQUE,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX card_refund_charge ON card_refund (charge_id);

CREATE TABLE card_event (
    id text PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now()
);
"""
    )
