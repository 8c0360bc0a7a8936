"""The rows of services, meters and open sessions as the values that entitlements are computed from.

Rule: only this module knows how usage and burst stand in a meter's documents, both ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from domain.instants import Microseconds, to_datetime, to_microseconds
from domain.plan_rules import TopUpKind
from enforcement.standing import AccountState, BurstLevel, Counter, Override, TopUp, Usage
from storage.lines import Line, line_of
from storage.overrides import change_of


class Contract(NamedTuple):
    """What is stored of one service, before its plan tells what of it holds."""

    service_id: int
    plan_id: int
    login: str
    enabled: bool
    account: AccountState
    expires_at: datetime | None
    period_day: int
    metered: Usage | None
    """The meter row: usage as it was when somebody last looked."""
    burst: BurstLevel | None
    carried_for: datetime | None
    """The beginning of the cap's period into which `carried_lots` rolled; None: no period was settled yet."""
    carried_lots: tuple[int, ...]
    warned: tuple[int, ...]
    """Percentages already warned of, as the meter keeps them: those of the ceiling of overage are negative."""
    override: Override | None
    top_ups: tuple[TopUp, ...]
    """Those that hold or will, and those that ended in the present period or in one that is not settled."""


class OpenSession(NamedTuple):
    """A session that is open, with its line where it has one."""

    id: int
    router_id: int
    nas: str
    acct_session_id: str
    login: str
    address: str | None
    mac: str | None
    nas_port_id: str | None
    class_token: bytes | None
    octets_up: int
    octets_down: int
    traffic_class: int
    started_at: datetime
    heard_at: datetime
    """When its router last reported it."""
    line: Line | None


def session_of(service_id: int, row: Sequence[Any]) -> OpenSession:
    """Return an open session of a service, and its line where it has one."""
    (
        session_id,
        router_id,
        nas,
        acct_session_id,
        login,
        address,
        mac,
        nas_port_id,
        class_token,
        octets_up,
        octets_down,
        traffic_class,
        started_us,
        heard_us,
        *line,
    ) = row
    return OpenSession(
        session_id,
        router_id,
        nas,
        acct_session_id,
        login,
        address,
        mac,
        nas_port_id,
        _octets(class_token),
        octets_up,
        octets_down,
        traffic_class,
        to_datetime(started_us),
        to_datetime(heard_us),
        _line(session_id, service_id, line),
    )


def _line(session_id: int, service_id: int, row: Sequence[Any]) -> Line | None:
    (
        router_id,
        desired,
        since_us,
        proven,
        proven_us,
        proven_by,
        attempts,
        next_us,
        problem,
        recompute_us,
        crossed_us,
        overshoot,
    ) = row
    if router_id is None:
        return None
    return line_of(
        (
            session_id,
            service_id,
            router_id,
            _octets(desired),
            to_datetime(since_us),
            _octets(proven),
            _instant(proven_us),
            proven_by,
            attempts,
            _instant(next_us),
            problem,
            _instant(recompute_us),
            _instant(crossed_us),
            overshoot,
        )
    )


def _octets(written: str | None) -> bytes | None:
    return None if written is None else bytes.fromhex(written)


def _instant(instant_us: int | None) -> datetime | None:
    return None if instant_us is None else to_datetime(Microseconds(instant_us))


def contract_of(row: Sequence[Any]) -> Contract:
    """Return what is stored of a service."""
    (
        service_id,
        plan_id,
        login,
        enabled,
        account,
        expires_us,
        period_day,
        as_of_us,
        usage,
        burst,
        carried_for_us,
        carried_lots,
        warned,
        change,
        until_us,
        operator,
        reason,
        top_ups,
    ) = row
    return Contract(
        service_id=service_id,
        plan_id=plan_id,
        login=login,
        enabled=enabled,
        account=AccountState(account),
        expires_at=_instant(expires_us),
        period_day=period_day,
        metered=None if usage is None else _usage(usage, to_datetime(as_of_us)),
        burst=None if burst is None else _burst(burst),
        carried_for=_instant(carried_for_us),
        carried_lots=tuple(carried_lots or ()),
        warned=tuple(warned or ()),
        override=None if change is None else Override(change_of(change), _instant(until_us), operator, reason),
        top_ups=tuple(map(_top_up, top_ups or ())),
    )


def _top_up(row: Sequence[Any]) -> TopUp:
    top_up_id, name, kind, begins_us, ends_us, octets, spent, boost, before_plan, covered = row
    return TopUp(
        id=top_up_id,
        name=name,
        kind=TopUpKind(kind),
        begins=to_datetime(begins_us),
        ends=to_datetime(ends_us),
        octets=octets,
        spent_octets=spent,
        boost=None if boost is None else change_of(boost),
        before_plan=before_plan,
        covered_octets=covered,
    )


def _usage(document: Mapping[str, Any], as_of: datetime) -> Usage:
    fup_month, line, ever = (document.get(name) for name in ("fup_month", "line", "ever"))
    return Usage(
        as_of=as_of,
        day=_counter(document["day"]),
        week=_counter(document["week"]),
        month=_counter(document["month"]),
        fup_month=None if fup_month is None else _counter(fup_month),
        sessions=document["sessions"],
        line=None if line is None else _counter(line),
        ever=None if ever is None else _counter(ever),
        over_before=tuple(document.get("over_before", ())),
    )


def _counter(row: Sequence[int]) -> Counter:
    begins_us, up, down, seconds, *rest = row
    return Counter(to_datetime(Microseconds(begins_us)), up, down, seconds, *rest)


def usage_document(usage: Usage) -> str:
    """Return usage as a meter has it."""
    counters = {
        "day": usage.day,
        "week": usage.week,
        "month": usage.month,
        "fup_month": usage.fup_month,
        "line": usage.line,
        "ever": usage.ever,
    }
    document: dict[str, object] = {
        name: [to_microseconds(each.begins), *each[1:]] if each.rest else [to_microseconds(each.begins), *each[1:4]]
        for name, each in counters.items()
        if each is not None
    }
    if usage.over_before:
        document["over_before"] = usage.over_before
    return json.dumps({**document, "sessions": usage.sessions})


def _burst(document: Mapping[str, Any]) -> BurstLevel:
    return BurstLevel(to_datetime(document["as_of"]), document["octets"], document["spent"])


def burst_document(level: BurstLevel | None) -> str | None:
    """Return a level of a burst budget as a meter has it; None without."""
    if level is None:
        return None
    return json.dumps({"as_of": to_microseconds(level.as_of), "octets": level.octets, "spent": level.spent})
