"""Create the tables of provisioning, sessions, usage, leases and refusals."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PROVISIONING = """
CREATE TABLE isp (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name text NOT NULL,
    currency text NOT NULL,
    timezone text NOT NULL
);
INSERT INTO isp (name, currency, timezone) VALUES ('Caudal', 'EUR', 'Europe/Madrid');

-- Raised by every change of routers, pools, plans or the ISP; workers reload their snapshot when it moves.
CREATE TABLE configuration_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO configuration_revision (revision) VALUES (1);

CREATE TABLE router (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    address cidr NOT NULL,
    identifier text,
    secret bytea NOT NULL,
    profile text NOT NULL,
    coa_port integer CHECK (coa_port BETWEEN 1 AND 65535),
    require_message_authenticator text NOT NULL CHECK (require_message_authenticator IN ('always', 'auto', 'never')),
    flip_counters boolean NOT NULL,
    api_user text,
    api_password bytea,
    api_port integer CHECK (api_port BETWEEN 1 AND 65535),
    api_tls boolean,
    UNIQUE NULLS NOT DISTINCT (address, identifier)
);

CREATE TABLE pool (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('ipv4', 'ipv6-prefix', 'delegated-prefix')),
    first_address inet NOT NULL,
    last_address inet NOT NULL,
    prefix_length integer NOT NULL,
    router_ids integer[] NOT NULL,
    lease_seconds integer CHECK (lease_seconds > 0),
    -- How many addresses were ever handed out; the next never-used one is first_address + next_offset * size.
    next_offset bigint NOT NULL DEFAULT 0
);

CREATE TABLE plan (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind = 'internet'),
    download_bits_per_second bigint CHECK (download_bits_per_second > 0),
    upload_bits_per_second bigint CHECK (upload_bits_per_second > 0),
    pool_id integer REFERENCES pool,
    ipv6_pool_id integer REFERENCES pool,
    delegated_pool_id integer REFERENCES pool,
    session_timeout_seconds integer CHECK (session_timeout_seconds > 0),
    idle_timeout_seconds integer CHECK (idle_timeout_seconds > 0),
    interim_seconds integer NOT NULL CHECK (interim_seconds >= 60),
    simultaneous integer CHECK (simultaneous > 0)
);

CREATE TABLE customer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login text COLLATE "C" NOT NULL UNIQUE,
    name text NOT NULL,
    email text,
    phone text
);

CREATE TABLE service (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login text COLLATE "C" NOT NULL UNIQUE,
    -- AES-GCM over the password and its NT hashes; bound to the login.
    secret bytea NOT NULL,
    plan_id integer NOT NULL REFERENCES plan,
    customer_id bigint REFERENCES customer,
    address inet,
    macs text[] NOT NULL,
    router_ids integer[] NOT NULL,
    simultaneous integer CHECK (simultaneous > 0),
    enabled boolean NOT NULL,
    expires_at timestamptz,
    -- Reply attributes of the operator's own, in order: [["Name", "value"], …].
    attributes jsonb NOT NULL,
    -- The same, encoded once when they were provisioned.
    reply_octets bytea NOT NULL
);
CREATE INDEX service_plan ON service (plan_id);
CREATE INDEX service_customer ON service (customer_id);
-- A lease must not be an address that belongs to somebody.
CREATE INDEX service_address ON service (address) WHERE address IS NOT NULL;
"""

SESSIONS = """
-- One row per worker incarnation. A lane commits its batches one after the other, so the batch numbers of a lane
-- that are visible are always a prefix: that makes the roll-up's high-water mark exact.
CREATE TABLE lane (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    opened_at timestamptz NOT NULL DEFAULT now(),
    rolled_batch bigint NOT NULL DEFAULT 0,
    retired boolean NOT NULL DEFAULT false
);

-- A worker takes the thousand ids that begin at the value it draws.
CREATE SEQUENCE session_id AS bigint INCREMENT 1000;

CREATE TABLE session (
    id bigint PRIMARY KEY,
    router_id integer NOT NULL,
    -- Tells the boxes behind one router entry apart (a range of addresses); empty for a single address.
    nas text COLLATE "C" NOT NULL,
    acct_session_id text COLLATE "C" NOT NULL,
    -- 0, 1, …: sessions that reused the same Acct-Session-Id.
    generation integer NOT NULL,
    -- Raised by each write; a writer names the version it folded from.
    version integer NOT NULL,
    service_id bigint,
    login text COLLATE "C" NOT NULL,
    -- Hash of MAC and port: a new Start on the same line closes the old session.
    line bigint,
    mac text,
    address inet,
    ipv6 jsonb,
    nas_port_id text,
    multi_session_id text,
    class_token bytea,
    -- 0 open, 1 stopped, 2 closed provisionally (a later packet revives it).
    state smallint NOT NULL,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Arrival of the newest packet by our own clock; staleness is judged by it.
    heard_at timestamptz NOT NULL,
    stopped_at timestamptz,
    terminate_cause text,
    session_seconds bigint NOT NULL,
    octets_up bigint NOT NULL,
    octets_down bigint NOT NULL,
    -- What wraps and resets of the router's counters added: octets - base is the counter as the router last sent it.
    base_up bigint NOT NULL,
    base_down bigint NOT NULL,
    -- Whether the router ever sent Gigawords in this session; if not, a smaller counter may have wrapped at 2^32.
    gigawords boolean NOT NULL,
    interim_seconds integer,
    -- Attributes that the product does not know, as received.
    unknown_attributes bytea,
    UNIQUE (router_id, nas, acct_session_id, generation)
) WITH (fillfactor = 60);
CREATE INDEX session_open_service ON session (service_id) WHERE state = 0;
-- What one subscriber did, years back; a table of a hundred million sessions cannot be read for each question.
CREATE INDEX session_login ON session (login, started_at);
CREATE INDEX session_open_line ON session (router_id, line) WHERE state = 0;

-- Addresses a session had before the one in its row.
CREATE TABLE session_address (
    session_id bigint NOT NULL,
    address inet NOT NULL,
    until_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, until_at)
);

-- The append-only truth: octets of one session between two instants.
CREATE TABLE usage_fact (
    batch bigint NOT NULL,
    service_id bigint,
    session_id bigint NOT NULL,
    from_at timestamptz NOT NULL,
    to_at timestamptz NOT NULL,
    traffic_class smallint NOT NULL DEFAULT 0,
    octets_up bigint NOT NULL,
    octets_down bigint NOT NULL
) PARTITION BY RANGE (to_at);
CREATE INDEX usage_fact_batch ON usage_fact (batch);
CREATE TABLE usage_fact_default PARTITION OF usage_fact DEFAULT;

CREATE TABLE usage_hour (
    service_id bigint NOT NULL,
    hour timestamptz NOT NULL,
    traffic_class smallint NOT NULL,
    octets_up bigint NOT NULL,
    octets_down bigint NOT NULL,
    PRIMARY KEY (service_id, hour, traffic_class)
);
CREATE TABLE usage_day (
    service_id bigint NOT NULL,
    day date NOT NULL,
    traffic_class smallint NOT NULL,
    octets_up bigint NOT NULL,
    octets_down bigint NOT NULL,
    PRIMARY KEY (service_id, day, traffic_class)
);
"""

ADMISSION = """
CREATE TABLE lease (
    pool_id integer NOT NULL REFERENCES pool,
    address inet NOT NULL,
    service_id bigint NOT NULL,
    -- The line that holds it: MAC, or port where there is no MAC.
    client text COLLATE "C" NOT NULL,
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (pool_id, address),
    UNIQUE (service_id, client, pool_id)
);
CREATE INDEX lease_age ON lease (pool_id, expires_at);

-- Access-Accepts of services with a limit which no Start has confirmed yet.
CREATE TABLE admission (
    service_id bigint NOT NULL,
    client text COLLATE "C" NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (service_id, client)
);

CREATE TABLE refusal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    refused_at timestamptz NOT NULL,
    login text COLLATE "C" NOT NULL,
    service_id bigint,
    router_id integer,
    mac text,
    reason text NOT NULL,
    method text NOT NULL,
    -- Equal refusals within a minute are one row.
    attempts integer NOT NULL
);
CREATE INDEX refusal_login ON refusal (login, refused_at);
CREATE INDEX refusal_time ON refusal (refused_at);

CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    router_id integer NOT NULL,
    reason text NOT NULL,
    datagram bytea NOT NULL
);
CREATE INDEX quarantine_time ON quarantine (received_at);
"""

CONFLICT = """
-- Ends a batch whose rows another worker moved; the worker reads them again and folds again.
CREATE FUNCTION refuse_stale_batch() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a session of this batch was written by another worker' USING ERRCODE = 'CA001';
END $$;
"""


def upgrade() -> None:
    """Create everything; the product has no earlier schema."""
    for statements in (PROVISIONING, SESSIONS, ADMISSION, CONFLICT):
        op.execute(statements)
