"""Create what enforcement keeps: rules of plans, account states, meters, top-ups, the outbox and the lines."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PROVISIONING = """
-- The network half of a plan, in the words of `[[plan]]`; config/plan_rules.py reads it.
ALTER TABLE plan ADD COLUMN rules jsonb NOT NULL DEFAULT '{}';
-- What happens to blocked lines where the plan does not say, in the words of `[isp.blocking]`.
ALTER TABLE isp ADD COLUMN blocking jsonb NOT NULL DEFAULT '{}';
ALTER TABLE router
    -- CoA and Disconnect per second; NULL is the product's own.
    ADD COLUMN coa_per_second integer CHECK (coa_per_second > 0),
    -- SHA-256 of the API's certificate.
    ADD COLUMN api_fingerprint bytea,
    -- Whether entries that somebody changed by hand are set right.
    ADD COLUMN repair_drift boolean NOT NULL DEFAULT true,
    -- Whether usage of lines without RADIUS accounting is read over the API.
    ADD COLUMN api_accounting boolean NOT NULL DEFAULT false,
    -- What is made for static services: queues of their own below a tree, PCQ, or nothing.
    ADD COLUMN queues text NOT NULL DEFAULT 'none' CHECK (queues IN ('none', 'simple', 'pcq'));
ALTER TABLE service
    ADD COLUMN account_state text NOT NULL DEFAULT 'active'
        CHECK (account_state IN ('active', 'blocked', 'no_balance')),
    ADD COLUMN period_day smallint NOT NULL DEFAULT 1 CHECK (period_day BETWEEN 1 AND 31);
"""

METERING = """
-- The octets of a session (up, down or both, as wake_direction says) at which somebody must look at its line again:
-- 0 both, 1 down, 2 up. A batch that reaches them says so in the outbox and clears them.
ALTER TABLE session
    ADD COLUMN wake_octets bigint,
    ADD COLUMN wake_direction smallint NOT NULL DEFAULT 0,
    -- What its line may do can change by itself: enforcement is told when it opens and stops.
    ADD COLUMN watched boolean NOT NULL DEFAULT false,
    -- Of the classes of its plan, from 1; 0 where its traffic is not told apart.
    ADD COLUMN traffic_class smallint NOT NULL DEFAULT 0;
-- The time on line of a service; sessions that nobody watches are not in it.
CREATE INDEX session_watched ON session (service_id, stopped_at) WHERE watched AND state <> 0;

-- What happened and is not yet acted upon, written in the transaction in which it happened.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    topic text NOT NULL,
    service_id bigint,
    session_id bigint
);

-- What is known of a service's usage; as_of tells when. A service without it has used nothing that counts.
CREATE TABLE meter (
    service_id bigint PRIMARY KEY,
    as_of timestamptz,
    -- {"day": [begins_us, up, down, seconds], "week": …, "month": …, "fup_month": …, "sessions": n}
    usage jsonb,
    -- {"as_of": us, "octets": n, "spent": bool}
    burst jsonb,
    -- What rolled over, by the period it comes from, oldest first.
    carried_lots bigint[] NOT NULL DEFAULT '{}',
    -- Beginning of the cap's period into which it rolled: all periods before are settled.
    carried_for timestamptz,
    -- Percentages of the cap already warned of in that period.
    warned integer[] NOT NULL DEFAULT '{}'
);

CREATE TABLE top_up (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id bigint NOT NULL,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('octets', 'hours', 'boost')),
    bought_at timestamptz NOT NULL,
    begins_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    octets bigint NOT NULL DEFAULT 0,
    -- What was used of it in periods that are settled.
    spent_octets bigint NOT NULL DEFAULT 0,
    -- What it paid of the present period, fixed when it ended inside.
    covered_octets bigint,
    -- {"kind": "fixed", "download": n, "upload": n} or {"kind": "percent", "percent": n}
    boost jsonb,
    before_plan boolean NOT NULL DEFAULT false,
    price numeric NOT NULL DEFAULT 0,
    origin text NOT NULL CHECK (origin IN ('operator', 'automatic', 'subscriber')),
    -- Two requests with one key are one purchase.
    idempotency_key text UNIQUE
);
CREATE INDEX top_up_service ON top_up (service_id, ends_at);

CREATE TABLE override (
    service_id bigint PRIMARY KEY,
    -- As boost of a top-up; also {"kind": "block"}.
    change jsonb NOT NULL,
    until_at timestamptz,
    operator text NOT NULL,
    reason text NOT NULL,
    made_at timestamptz NOT NULL
);
"""

LINES = """
-- What each open session should get and what its router is proven to give it.
CREATE TABLE line (
    session_id bigint PRIMARY KEY,
    service_id bigint NOT NULL,
    router_id integer NOT NULL,
    desired bytea NOT NULL,
    desired_since timestamptz NOT NULL,
    -- NULL: nothing is proven, the next step is due.
    proven bytea,
    proven_at timestamptz,
    -- How it was proven: login, coa, read_back, api, disconnect.
    proven_by text,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    -- Why it is not proven, from a closed set.
    problem text,
    -- When what it may do changes by itself.
    recompute_at timestamptz,
    crossed_at timestamptz,
    overshoot_octets bigint
);
CREATE INDEX line_service ON line (service_id);
CREATE INDEX line_recompute ON line (recompute_at) WHERE recompute_at IS NOT NULL;
CREATE INDEX line_unproven ON line (router_id, session_id) WHERE proven IS DISTINCT FROM desired;
"""


def upgrade() -> None:
    """Add columns and tables; nothing that exists changes its meaning."""
    for statements in (PROVISIONING, METERING, LINES):
        op.execute(statements)
