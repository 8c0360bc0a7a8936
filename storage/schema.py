"""The tables of the database, as SQLAlchemy Core sees them.

Rule: the migrations are the truth; this mirrors them for the code that asks questions, and a test creates both and
compares the catalogues. Only partitions, triggers and functions are the migrations' alone.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, CIDR, INET, JSONB, TIMESTAMP

metadata = MetaData()

_INSTANT = TIMESTAMP(timezone=True)
# Compared octet by octet: logins and identifiers of routers know no language.
_KEY_TEXT = Text(collation="C")


def _only_row() -> Column[bool]:
    return Column("only_row", Boolean, CheckConstraint("only_row"), primary_key=True, server_default=true())


def _positive(name: str, type_: type[Integer] = Integer) -> Column[int]:
    return Column(name, type_, CheckConstraint(f"{name} > 0"))


def _port(name: str) -> Column[int]:
    return Column(name, Integer, CheckConstraint(f"{name} BETWEEN 1 AND 65535"))


isp = Table(
    "isp",
    metadata,
    _only_row(),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("blocking", JSONB, nullable=False, server_default=text("'{}'")),
    Column("billing", JSONB, nullable=False, server_default=text("'{}'")),
)

configuration_revision = Table(
    "configuration_revision",
    metadata,
    _only_row(),
    Column("revision", BigInteger, nullable=False),
)

router = Table(
    "router",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("address", CIDR, nullable=False),
    Column("identifier", Text),
    Column("secret", BYTEA, nullable=False),
    Column("profile", Text, nullable=False),
    _port("coa_port"),
    Column(
        "require_message_authenticator",
        Text,
        CheckConstraint("require_message_authenticator IN ('always', 'auto', 'never')"),
        nullable=False,
    ),
    Column("flip_counters", Boolean, nullable=False),
    Column("api_user", Text),
    Column("api_password", BYTEA),
    _port("api_port"),
    Column("api_tls", Boolean),
    _positive("coa_per_second"),
    Column("api_fingerprint", BYTEA),
    Column("repair_drift", Boolean, nullable=False, server_default=true()),
    Column("api_accounting", Boolean, nullable=False, server_default=false()),
    Column(
        "queues",
        Text,
        CheckConstraint("queues IN ('none', 'simple', 'pcq')"),
        nullable=False,
        server_default=text("'none'"),
    ),
    UniqueConstraint("address", "identifier", postgresql_nulls_not_distinct=True),
)

signer = Table(
    "signer",
    metadata,
    Column("router_id", Integer, ForeignKey("router.id"), nullable=False),
    Column("host", Text, nullable=False),
    PrimaryKeyConstraint("router_id", "host"),
)

pool = Table(
    "pool",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, CheckConstraint("kind IN ('ipv4', 'ipv6-prefix', 'delegated-prefix')"), nullable=False),
    Column("first_address", INET, nullable=False),
    Column("last_address", INET, nullable=False),
    Column("prefix_length", Integer, nullable=False),
    Column("router_ids", ARRAY(Integer), nullable=False),
    _positive("lease_seconds"),
    Column("next_offset", BigInteger, nullable=False, server_default=text("0")),
)

plan = Table(
    "plan",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, CheckConstraint("kind = 'internet'"), nullable=False),
    _positive("download_bits_per_second", BigInteger),
    _positive("upload_bits_per_second", BigInteger),
    Column("pool_id", Integer, ForeignKey("pool.id")),
    Column("ipv6_pool_id", Integer, ForeignKey("pool.id")),
    Column("delegated_pool_id", Integer, ForeignKey("pool.id")),
    _positive("session_timeout_seconds"),
    _positive("idle_timeout_seconds"),
    Column("interim_seconds", Integer, CheckConstraint("interim_seconds >= 60"), nullable=False),
    _positive("simultaneous"),
    Column("rules", JSONB, nullable=False, server_default=text("'{}'")),
)

customer = Table(
    "customer",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("login", _KEY_TEXT, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("phone", Text),
    Column("partner_id", Integer, ForeignKey("partner.id"), nullable=False, server_default=text("1")),
    Column("payer_id", BigInteger, ForeignKey("customer.id")),
    Column("details", JSONB, nullable=False, server_default=text("'{}'")),
    Column("paid_since", Date),
    CheckConstraint("payer_id <> id", name="customer_pays_for_others"),
)
Index("customer_payer", customer.c.payer_id, postgresql_where=customer.c.payer_id.is_not(None))

service = Table(
    "service",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("login", _KEY_TEXT, nullable=False, unique=True),
    Column("secret", BYTEA, nullable=False),
    Column("plan_id", Integer, ForeignKey("plan.id"), nullable=False),
    Column("customer_id", BigInteger, ForeignKey("customer.id")),
    Column("address", INET),
    Column("macs", ARRAY(Text), nullable=False),
    Column("router_ids", ARRAY(Integer), nullable=False),
    _positive("simultaneous"),
    Column("enabled", Boolean, nullable=False),
    Column("expires_at", _INSTANT),
    Column("attributes", JSONB, nullable=False),
    Column("reply_octets", BYTEA, nullable=False),
    Column(
        "account_state",
        Text,
        CheckConstraint("account_state IN ('active', 'blocked', 'no_balance')"),
        nullable=False,
        server_default=text("'active'"),
    ),
    Column(
        "period_day",
        SmallInteger,
        CheckConstraint("period_day BETWEEN 1 AND 31"),
        nullable=False,
        server_default=text("1"),
    ),
    Column(
        "billing_state",
        Text,
        CheckConstraint("billing_state IN ('active', 'slowed', 'redirected', 'blocked', 'no_balance')"),
        nullable=False,
        server_default=text("'active'"),
    ),
)
Index("service_plan", service.c.plan_id)
Index("service_customer", service.c.customer_id)
Index("service_address", service.c.address, postgresql_where=service.c.address.is_not(None))

lane = Table(
    "lane",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("opened_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("rolled_batch", BigInteger, nullable=False, server_default=text("0")),
    Column("retired", Boolean, nullable=False, server_default=false()),
)

session_id = Sequence("session_id", metadata=metadata, increment=1000, data_type=BigInteger)

session = Table(
    "session",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("router_id", Integer, nullable=False),
    Column("nas", _KEY_TEXT, nullable=False),
    Column("acct_session_id", _KEY_TEXT, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("service_id", BigInteger),
    Column("login", _KEY_TEXT, nullable=False),
    Column("line", BigInteger),
    Column("mac", Text),
    Column("address", INET),
    Column("ipv6", JSONB),
    Column("nas_port_id", Text),
    Column("multi_session_id", Text),
    Column("class_token", BYTEA),
    Column("state", SmallInteger, nullable=False),
    Column("started_at", _INSTANT, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("heard_at", _INSTANT, nullable=False),
    Column("stopped_at", _INSTANT),
    Column("terminate_cause", Text),
    Column("session_seconds", BigInteger, nullable=False),
    Column("octets_up", BigInteger, nullable=False),
    Column("octets_down", BigInteger, nullable=False),
    Column("base_up", BigInteger, nullable=False),
    Column("base_down", BigInteger, nullable=False),
    Column("gigawords", Boolean, nullable=False),
    Column("interim_seconds", Integer),
    Column("unknown_attributes", BYTEA),
    Column("wake_octets", BigInteger),
    Column("wake_direction", SmallInteger, nullable=False, server_default=text("0")),
    Column("watched", Boolean, nullable=False, server_default=false()),
    Column("traffic_class", SmallInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("router_id", "nas", "acct_session_id", "generation"),
    postgresql_with={"fillfactor": 60},
)
Index("session_login", session.c.login, session.c.started_at)
# Each says that the column it begins with is given: no question by another column can then read it from end to end.
_IS_OPEN = session.c.state == text("0")
Index("session_open_service", session.c.service_id, postgresql_where=_IS_OPEN & session.c.service_id.is_not(None))
Index(
    "session_open_line",
    session.c.router_id,
    session.c.line,
    postgresql_where=_IS_OPEN & session.c.router_id.is_not(None),
)
Index(
    "session_watched",
    session.c.service_id,
    session.c.stopped_at,
    postgresql_where=session.c.watched & (session.c.state != text("0")),
)

session_address = Table(
    "session_address",
    metadata,
    Column("session_id", BigInteger, nullable=False),
    Column("address", INET, nullable=False),
    Column("until_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("session_id", "until_at"),
)

usage_fact = Table(
    "usage_fact",
    metadata,
    Column("batch", BigInteger, nullable=False),
    Column("service_id", BigInteger),
    Column("session_id", BigInteger, nullable=False),
    Column("from_at", _INSTANT, nullable=False),
    Column("to_at", _INSTANT, nullable=False),
    Column("traffic_class", SmallInteger, nullable=False, server_default=text("0")),
    Column("octets_up", BigInteger, nullable=False),
    Column("octets_down", BigInteger, nullable=False),
    postgresql_partition_by="RANGE (to_at)",
)
Index("usage_fact_batch", usage_fact.c.batch)

usage_hour = Table(
    "usage_hour",
    metadata,
    Column("service_id", BigInteger, nullable=False),
    Column("hour", _INSTANT, nullable=False),
    Column("traffic_class", SmallInteger, nullable=False),
    Column("octets_up", BigInteger, nullable=False),
    Column("octets_down", BigInteger, nullable=False),
    PrimaryKeyConstraint("service_id", "hour", "traffic_class"),
)

usage_day = Table(
    "usage_day",
    metadata,
    Column("service_id", BigInteger, nullable=False),
    Column("day", Date, nullable=False),
    Column("traffic_class", SmallInteger, nullable=False),
    Column("octets_up", BigInteger, nullable=False),
    Column("octets_down", BigInteger, nullable=False),
    PrimaryKeyConstraint("service_id", "day", "traffic_class"),
)

lease = Table(
    "lease",
    metadata,
    Column("pool_id", Integer, ForeignKey("pool.id"), nullable=False),
    Column("address", INET, nullable=False),
    Column("service_id", BigInteger, nullable=False),
    Column("client", _KEY_TEXT, nullable=False),
    Column("granted_at", _INSTANT, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("pool_id", "address"),
    UniqueConstraint("service_id", "client", "pool_id"),
)
Index("lease_age", lease.c.pool_id, lease.c.expires_at)

admission = Table(
    "admission",
    metadata,
    Column("service_id", BigInteger, nullable=False),
    Column("client", _KEY_TEXT, nullable=False),
    Column("granted_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("service_id", "client"),
)

refusal = Table(
    "refusal",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("refused_at", _INSTANT, nullable=False),
    Column("login", _KEY_TEXT, nullable=False),
    Column("service_id", BigInteger),
    Column("router_id", Integer),
    Column("mac", Text),
    Column("reason", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
)
Index("refusal_login", refusal.c.login, refusal.c.refused_at)
Index("refusal_time", refusal.c.refused_at)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("received_at", _INSTANT, nullable=False),
    Column("router_id", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("datagram", BYTEA, nullable=False),
)
Index("quarantine_time", quarantine.c.received_at)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("happened_at", _INSTANT, nullable=False, server_default=func.clock_timestamp()),
    Column("topic", Text, nullable=False),
    Column("service_id", BigInteger),
    Column("session_id", BigInteger),
)

meter = Table(
    "meter",
    metadata,
    Column("service_id", BigInteger, primary_key=True, autoincrement=False),
    Column("as_of", _INSTANT),
    Column("usage", JSONB),
    Column("burst", JSONB),
    Column("carried_lots", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    Column("carried_for", _INSTANT),
    Column("warned", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
)

top_up = Table(
    "top_up",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("service_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, CheckConstraint("kind IN ('octets', 'hours', 'boost')"), nullable=False),
    Column("bought_at", _INSTANT, nullable=False),
    Column("begins_at", _INSTANT, nullable=False),
    Column("ends_at", _INSTANT, nullable=False),
    Column("octets", BigInteger, nullable=False, server_default=text("0")),
    Column("spent_octets", BigInteger, nullable=False, server_default=text("0")),
    Column("covered_octets", BigInteger),
    Column("boost", JSONB),
    Column("before_plan", Boolean, nullable=False, server_default=false()),
    Column("price", Numeric, nullable=False, server_default=text("0")),
    Column(
        "origin",
        Text,
        CheckConstraint("origin IN ('operator', 'automatic', 'subscriber', 'voucher')"),
        nullable=False,
    ),
    Column("idempotency_key", Text, unique=True),
    Column(
        "charge",
        Text,
        CheckConstraint("charge IN ('none', 'balance', 'invoice', 'voucher')"),
        nullable=False,
        server_default=text("'none'"),
    ),
)
Index("top_up_service", top_up.c.service_id, top_up.c.ends_at)

override = Table(
    "override",
    metadata,
    Column("service_id", BigInteger, primary_key=True, autoincrement=False),
    Column("change", JSONB, nullable=False),
    Column("until_at", _INSTANT),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_at", _INSTANT, nullable=False),
)

line = Table(
    "line",
    metadata,
    Column("session_id", BigInteger, primary_key=True, autoincrement=False),
    Column("service_id", BigInteger, nullable=False),
    Column("router_id", Integer, nullable=False),
    Column("desired", BYTEA, nullable=False),
    Column("desired_since", _INSTANT, nullable=False),
    Column("proven", BYTEA),
    Column("proven_at", _INSTANT),
    Column("proven_by", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", _INSTANT),
    Column("problem", Text),
    Column("recompute_at", _INSTANT),
    Column("crossed_at", _INSTANT),
    Column("overshoot_octets", BigInteger),
)
Index("line_service", line.c.service_id)
Index("line_recompute", line.c.recompute_at, postgresql_where=line.c.recompute_at.is_not(None))
Index(
    "line_unproven",
    line.c.router_id,
    line.c.session_id,
    postgresql_where=line.c.proven.is_distinct_from(line.c.desired),
)
