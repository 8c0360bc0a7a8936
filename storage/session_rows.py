"""Session rows and usage facts: how a batch of accounting reads and writes them.

Rule: one transaction a batch. A writer names the version it folded from; when another worker has moved a row, the whole
batch is refused (SQLSTATE CA001) and folded again from what is there. Facts are only ever added. What enforcement must
hear of (a session that reached its wake_octets; a watched one that opened or stopped) is in the outbox in the same
transaction, found by the statements that write the rows.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accounting.record import SessionKey
from accounting.session import Delta, Session, State
from domain.instants import Microseconds
from storage.literals import booleans, integers, octet_strings, optional_integers, texts
from storage.outbox import CHANNEL, Topic

STALE_BATCH = "CA001"
"""SQLSTATE with which the database refuses a batch that was folded from an old version."""
IDS_PER_DRAW = 1000
"""The increment of the sequence session_id."""
MOST_GENERATIONS = 8
"""So many sessions before the newest are asked whether a record is theirs."""
SAME_LOGIN_SECONDS = 5
"""A router's clock may lag by this much without its sessions seeming older than the logins that began them."""

_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"
_US = "(extract(epoch FROM {}) * 1000000)::bigint"


def _at(column: str) -> str:
    return _AT.format(column)


_STILL_ASLEEP = """CASE WHEN s.wake_octets <= CASE s.wake_direction
            WHEN 1 THEN u.octets_down WHEN 2 THEN u.octets_up ELSE u.octets_up + u.octets_down END
        THEN NULL ELSE s.wake_octets END"""
"""What wake_octets becomes: nothing when the new octets reach it. The row decides; no worker's memory can be stale."""
_CROSSED = "old.wake_octets IS NOT NULL AND new.wake_octets IS NULL AS crossed"
_NOTIFY = f"CASE WHEN EXISTS (SELECT FROM told) THEN pg_notify('{CHANNEL}', '') END"
_OUTCOME = f"CASE WHEN (SELECT count(*) FROM {{}}) = cardinality($1) THEN 0 ELSE refuse_stale_batch() END, {_NOTIFY}"
"""Refuse the batch when not every row was written; notify once when the outbox got a row."""


_COLUMNS = f"""s.id, s.router_id, s.nas, s.acct_session_id, s.generation, s.version, s.service_id, s.login, s.line,
    s.mac, host(s.address), s.ipv6, s.nas_port_id, s.multi_session_id, s.class_token, s.state,
    {_US.format("s.started_at")}, {_US.format("s.updated_at")}, {_US.format("s.heard_at")},
    {_US.format("s.stopped_at")},
    s.terminate_cause, s.session_seconds, s.octets_up, s.octets_down, s.base_up, s.base_down, s.gigawords,
    s.interim_seconds, s.unknown_attributes, s.watched, s.traffic_class"""

PREPARED = {
    "read_sessions": f"""
PREPARE read_sessions(integer[], text[], text[]) AS
SELECT {_COLUMNS} FROM unnest($1, $2, $3) AS k(router_id, nas, acct_session_id)
CROSS JOIN LATERAL (
    SELECT * FROM session WHERE (router_id, nas, acct_session_id) = (k.router_id, k.nas, k.acct_session_id)
    ORDER BY generation DESC LIMIT 1
) AS s""",
    "read_generations": f"""
PREPARE read_generations(integer[], text[], text[], integer[]) AS
SELECT {_COLUMNS} FROM unnest($1, $2, $3, $4) AS k(router_id, nas, acct_session_id, generation)
CROSS JOIN LATERAL (
    SELECT * FROM session WHERE (router_id, nas, acct_session_id) = (k.router_id, k.nas, k.acct_session_id)
        AND generation < k.generation
    ORDER BY generation DESC LIMIT {MOST_GENERATIONS}
) AS s ORDER BY s.generation DESC""",
    "find_services": """
PREPARE find_services(text[]) AS
SELECT s.login, s.id, p.interim_seconds,
    p.rules <> '{}' OR o.service_id IS NOT NULL OR NOT s.enabled OR s.account_state <> 'active'
        OR s.billing_state <> 'active',
    p.rules ->> 'class'
FROM unnest($1) AS k(login) JOIN service AS s USING (login) JOIN plan AS p ON p.id = s.plan_id
LEFT JOIN override AS o ON o.service_id = s.id""",
    "open_sessions": f"""
PREPARE open_sessions(bigint[], integer[], text[], text[], integer[], bigint[], text[], bigint[], text[], text[],
    text[], text[], text[], bytea[], smallint[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[],
    bigint[], bigint[], bigint[], boolean[], integer[], bytea[], boolean[], smallint[]) AS
WITH u AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)
    AS u(id, router_id, nas, acct_session_id, generation, service_id, login, line, mac, address, ipv6, nas_port_id,
        multi_session_id, class_token, state, started, updated, heard, stopped, terminate_cause, session_seconds,
        octets_up, octets_down, base_up, base_down, gigawords, interim_seconds, unknown_attributes, watched,
        traffic_class)
), older AS MATERIALIZED (
    -- OFFSET 0 keeps the planner from turning this into a scan of all open sessions when it believes there are few.
    SELECT held.id FROM u CROSS JOIN LATERAL (
        SELECT s.id FROM session AS s WHERE s.state = 0 AND s.router_id = u.router_id AND s.line = u.line
            AND s.traffic_class = u.traffic_class AND s.started_at < {_at("u.started")} OFFSET 0
    ) AS held WHERE u.multi_session_id IS NULL
), superseded AS (
    UPDATE session AS s SET state = 2, version = s.version + 1, stopped_at = s.updated_at,
        terminate_cause = 'Superseded'
    -- Asked again: its Stop may have been committed by another worker since the row was found.
    FROM older WHERE s.id = older.id AND s.state = 0 RETURNING s.id, s.service_id, s.watched
), opened AS (
    INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, line, mac,
        address, ipv6, nas_port_id, multi_session_id, class_token, state, started_at, updated_at, heard_at, stopped_at,
        terminate_cause, session_seconds, octets_up, octets_down, base_up, base_down, gigawords, interim_seconds,
        unknown_attributes, watched, traffic_class)
    SELECT id, router_id, nas, acct_session_id, generation, 1, service_id, login, line, mac, address::inet,
        ipv6::jsonb, nas_port_id, multi_session_id, class_token, state, {_at("started")}, {_at("updated")},
        {_at("heard")}, {_at("stopped")}, terminate_cause, session_seconds, octets_up, octets_down, base_up, base_down,
        gigawords, interim_seconds, unknown_attributes, watched, traffic_class
    FROM u ON CONFLICT DO NOTHING RETURNING id, service_id, state, watched
), told AS (
    INSERT INTO outbox (topic, service_id, session_id)
    SELECT '{Topic.STOPPED.value}', service_id, id FROM superseded WHERE watched
    UNION ALL
    SELECT CASE state WHEN 0 THEN '{Topic.OPENED.value}' ELSE '{Topic.STOPPED.value}' END, service_id, id
    FROM opened WHERE watched
    RETURNING 1
)
SELECT {_OUTCOME.format("opened")}""",
    "advance_sessions": f"""
PREPARE advance_sessions(bigint[], integer[], bigint[], bigint[], bigint[], bigint[], bigint[], boolean[]) AS
WITH moved AS (
    UPDATE session AS s SET version = u.version + 1, updated_at = {_at("u.updated")}, heard_at = {_at("u.heard")},
        session_seconds = u.session_seconds, octets_up = u.octets_up, octets_down = u.octets_down,
        gigawords = u.gigawords, wake_octets = {_STILL_ASLEEP}
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
        AS u(id, version, updated, heard, session_seconds, octets_up, octets_down, gigawords)
    WHERE s.id = u.id AND s.version = u.version RETURNING s.id, s.service_id, {_CROSSED}
), told AS (
    INSERT INTO outbox (topic, service_id, session_id)
    SELECT '{Topic.CROSSED.value}', service_id, id FROM moved WHERE crossed RETURNING 1
)
SELECT {_OUTCOME.format("moved")}""",
    "restate_sessions": f"""
PREPARE restate_sessions(bigint[], integer[], bigint[], bigint[], bigint[], bigint[], bigint[], boolean[], text[],
    text[], smallint[], bigint[], text[], bigint[], bigint[]) AS
WITH u AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    AS u(id, version, updated, heard, session_seconds, octets_up, octets_down, gigawords, address, ipv6, state, stopped,
        terminate_cause, base_up, base_down)
), left_behind AS (
    INSERT INTO session_address (session_id, address, until_at)
    SELECT s.id, s.address, {_at("u.updated")} FROM u JOIN session AS s USING (id)
    WHERE s.address <> u.address::inet ON CONFLICT DO NOTHING
), freed AS (
    -- With its session ends the place that its Access-Accept took; a line that logged in again keeps the new one.
    DELETE FROM admission AS a USING (
        SELECT h.service_id, h.client FROM u JOIN session AS s USING (id) JOIN admission AS h
            ON h.service_id = s.service_id AND h.client = coalesce(s.mac, s.router_id || '/' || s.nas_port_id)
        WHERE u.state = {int(State.STOPPED)} AND h.granted_at < s.started_at + interval '{SAME_LOGIN_SECONDS} s'
        FOR UPDATE OF h SKIP LOCKED
    ) AS held WHERE (a.service_id, a.client) = (held.service_id, held.client)
), moved AS (
    UPDATE session AS s SET version = u.version + 1, updated_at = {_at("u.updated")}, heard_at = {_at("u.heard")},
        session_seconds = u.session_seconds, octets_up = u.octets_up, octets_down = u.octets_down,
        address = u.address::inet, ipv6 = u.ipv6::jsonb, state = u.state, stopped_at = {_at("u.stopped")},
        terminate_cause = u.terminate_cause, base_up = u.base_up, base_down = u.base_down, gigawords = u.gigawords,
        wake_octets = {_STILL_ASLEEP}
    FROM u WHERE s.id = u.id AND s.version = u.version
    RETURNING s.id, s.service_id, new.state, s.watched AND old.state <> new.state AS turned, {_CROSSED}
), told AS (
    INSERT INTO outbox (topic, service_id, session_id)
    SELECT '{Topic.CROSSED.value}', service_id, id FROM moved WHERE crossed
    UNION ALL
    SELECT CASE state WHEN 0 THEN '{Topic.OPENED.value}' ELSE '{Topic.STOPPED.value}' END, service_id, id
    FROM moved WHERE turned
    RETURNING 1
)
SELECT {_OUTCOME.format("moved")}""",
    "add_facts": f"""
PREPARE add_facts(bigint, bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], smallint[]) AS
INSERT INTO usage_fact (batch, service_id, session_id, from_at, to_at, octets_up, octets_down, traffic_class)
SELECT $1, service_id, session_id, {_at("from_us")}, {_at("to_us")}, octets_up, octets_down, coalesce(traffic_class, 0)
FROM unnest($2, $3, $4, $5, $6, $7, $8)
    AS u(service_id, session_id, from_us, to_us, octets_up, octets_down, traffic_class)""",
    "close_router_sessions": f"""
PREPARE close_router_sessions(integer, text, bigint, bigint) AS
WITH closed AS (
    UPDATE session SET state = 2, version = version + 1, stopped_at = updated_at, terminate_cause = 'NAS-Reboot'
    WHERE state = 0 AND router_id = $1 AND nas = $2
        AND (started_at < {_at("$3")} OR heard_at < {_at("$4")})
    RETURNING id, service_id, watched
), told AS (
    INSERT INTO outbox (topic, service_id, session_id)
    SELECT '{Topic.STOPPED.value}', service_id, id FROM closed WHERE watched RETURNING 1
)
SELECT {_NOTIFY}""",
    "keep_quarantined": f"""
PREPARE keep_quarantined(bigint[], integer[], text[], bytea[]) AS
INSERT INTO quarantine (received_at, router_id, reason, datagram)
SELECT {_at("received")}, router_id, reason, datagram
FROM unnest($1, $2, $3, $4) AS u(received, router_id, reason, datagram)""",
}

LANE_LOCK = 0x6C61_6E65
"""First key of the advisory lock that a worker holds on its lane, whose id is the second ("lane")."""
OPEN_LANE = f"""WITH opened AS (INSERT INTO lane DEFAULT VALUES RETURNING id)
SELECT id, pg_advisory_lock({LANE_LOCK}, id::integer) FROM opened"""
"""The lock is held before anybody sees the lane, and for as long as its connection can commit."""
DRAW_IDS = "SELECT nextval('session_id')"


def read_sessions(keys: Sequence[SessionKey]) -> str:
    """Return the query for the newest generation of each key."""
    columns = list(zip(*keys, strict=True))
    return f"EXECUTE read_sessions({integers(list(columns[0]))},{texts(columns[1])},{texts(columns[2])})"


def read_generations(wanted: Mapping[SessionKey, int]) -> str:
    """Return the query for the latest generations before a given one of each key, newest first."""
    columns = list(zip(*wanted, strict=True))
    return (
        f"EXECUTE read_generations({integers(list(columns[0]))},{texts(columns[1])},{texts(columns[2])},"
        f"{integers(list(wanted.values()))})"
    )


def find_services(logins: Iterable[str]) -> str:
    """Return the query for what is known of the names that are services.

    Its rows: login, service id, interim seconds, whether it is watched, the classes of its plan as JSON text. A service
    is watched when what it may do can change by itself; classes are NULL where the plan tells no traffic apart.
    """
    return f"EXECUTE find_services({texts(logins)})"


def write_batch(
    batch: int, opened: Sequence[Session], touched: Sequence[Session], facts: Sequence[tuple[Session, Delta]]
) -> str:
    """Return the one transaction of a batch; `touched` rows exist, `opened` ones do not."""
    statements = []
    restated = [session for session in touched if session.restated]
    advanced = [session for session in touched if not session.restated] if restated else touched
    if advanced:
        statements.append(_advance(advanced))
    if restated:
        statements.append(_restate(restated))
    if opened:
        statements.append(_open(opened))
    if facts:
        statements.append(_add_facts(batch, facts))
    return ";".join(statements)


def _progress(sessions: Sequence[Session]) -> str:
    return ",".join(
        (
            integers([s.id for s in sessions]),
            integers([s.version for s in sessions]),
            integers([s.updated_us for s in sessions]),
            integers([s.heard_us for s in sessions]),
            integers([s.session_seconds for s in sessions]),
            integers([s.octets_up for s in sessions]),
            integers([s.octets_down for s in sessions]),
            booleans([s.gigawords for s in sessions]),
        )
    )


def _advance(sessions: Sequence[Session]) -> str:
    return f"EXECUTE advance_sessions({_progress(sessions)})"


def _restate(sessions: Sequence[Session]) -> str:
    rest = (
        texts([_address(s.address) for s in sessions]),
        texts([_ipv6_document(s.ipv6) for s in sessions]),
        integers([int(s.state) for s in sessions]),
        optional_integers([s.stopped_us for s in sessions]),
        texts([s.terminate_cause for s in sessions]),
        integers([s.base_up for s in sessions]),
        integers([s.base_down for s in sessions]),
    )
    return f"EXECUTE restate_sessions({_progress(sessions)},{','.join(rest)})"


def _open(sessions: Sequence[Session]) -> str:
    columns = (
        integers([s.id for s in sessions]),
        integers([s.key[0] for s in sessions]),
        texts([s.key[1] for s in sessions]),
        texts([s.key[2] for s in sessions]),
        integers([s.generation for s in sessions]),
        optional_integers([s.service_id for s in sessions]),
        texts([s.login for s in sessions]),
        optional_integers([s.line for s in sessions]),
        texts([s.mac for s in sessions]),
        texts([_address(s.address) for s in sessions]),
        texts([_ipv6_document(s.ipv6) for s in sessions]),
        texts([s.nas_port_id for s in sessions]),
        texts([s.multi_session_id for s in sessions]),
        octet_strings([s.class_token for s in sessions]),
        integers([int(s.state) for s in sessions]),
        integers([s.started_us for s in sessions]),
        integers([s.updated_us for s in sessions]),
        integers([s.heard_us for s in sessions]),
        optional_integers([s.stopped_us for s in sessions]),
        texts([s.terminate_cause for s in sessions]),
        integers([s.session_seconds for s in sessions]),
        integers([s.octets_up for s in sessions]),
        integers([s.octets_down for s in sessions]),
        integers([s.base_up for s in sessions]),
        integers([s.base_down for s in sessions]),
        booleans([s.gigawords for s in sessions]),
        optional_integers([s.interim_seconds for s in sessions]),
        octet_strings([s.unknown_attributes for s in sessions]),
        booleans([s.watched for s in sessions]),
        integers([s.traffic_class for s in sessions]),
    )
    return f"EXECUTE open_sessions({','.join(columns)})"


def _add_facts(batch: int, facts: Sequence[tuple[Session, Delta]]) -> str:
    classes = [s.traffic_class for s, _ in facts]
    columns = (
        optional_integers([s.service_id for s, _ in facts]),
        integers([s.id for s, _ in facts]),
        integers([delta[0] for _, delta in facts]),
        integers([delta[1] for _, delta in facts]),
        integers([delta[2] for _, delta in facts]),
        integers([delta[3] for _, delta in facts]),
        # Hardly a batch tells any traffic apart: an array that is shorter than the others says 0.
        integers(classes if any(classes) else []),
    )
    return f"EXECUTE add_facts({batch},{','.join(columns)})"


def close_router_sessions(router_id: int, nas: str, before_us: Microseconds, silent_us: int) -> str:
    """Return the statement that closes, provisionally, what a NAS had open before it restarted.

    That is what began before the one instant by the clock of the NAS, or was last heard before the other by ours.
    """
    return f"EXECUTE close_router_sessions({router_id},({texts([nas])}::text[])[1],{before_us},{silent_us})"


def keep_quarantined(rows: Sequence[tuple[Microseconds, int, str, bytes]]) -> str:
    """Return the statement that keeps (received, router id, reason, datagram) of records that cannot be booked."""
    received, routers, reasons, datagrams = zip(*rows, strict=True)
    return (
        f"EXECUTE keep_quarantined({integers(list(received))},{integers(list(routers))},"
        f"{texts(reasons)},{octet_strings(datagrams)})"
    )


def session_of(row: Sequence[Any]) -> Session:
    """Return the session of a row that `read_sessions` gave."""
    session = Session()
    (
        session.id,
        router_id,
        nas,
        acct_session_id,
        session.generation,
        session.version,
        session.service_id,
        session.login,
        session.line,
        session.mac,
        address,
        ipv6,
        session.nas_port_id,
        session.multi_session_id,
        token,
        state,
        session.started_us,
        session.updated_us,
        session.heard_us,
        session.stopped_us,
        session.terminate_cause,
        session.session_seconds,
        session.octets_up,
        session.octets_down,
        session.base_up,
        session.base_down,
        session.gigawords,
        session.interim_seconds,
        unknown,
        session.watched,
        session.traffic_class,
    ) = row
    session.key = SessionKey(router_id, nas, acct_session_id)
    session.address = None if address is None else ipaddress.ip_address(address).packed
    session.ipv6 = _ipv6_attributes(ipv6)
    session.class_token = None if token is None else bytes(token)
    session.unknown_attributes = None if unknown is None else bytes(unknown)
    session.state = State(state)
    session.restated = False
    return session


def _address(value: bytes | None) -> str | None:
    return None if value is None else f"{value[0]}.{value[1]}.{value[2]}.{value[3]}"


def _ipv6_document(attributes: tuple[tuple[int, bytes], ...]) -> str | None:
    """Return the jsonb text [[type, "hex"], …]; None when there is none."""
    return json.dumps([[kind, value.hex()] for kind, value in attributes]) if attributes else None


def _ipv6_attributes(document: list[list[Any]] | None) -> tuple[tuple[int, bytes], ...]:
    return () if document is None else tuple((kind, bytes.fromhex(value)) for kind, value in document)
