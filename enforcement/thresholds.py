"""How close a session is watched that nears a threshold, and what stops it when nobody does.

Rule: what is told at login has to hold for the whole session. Another interim interval is taken neither by RouterOS
(its manual) nor by accel-ppp (its dm_coa.c), and of the others it is not known; RouterOS takes other limits only below
the Gigawords. A line of 100 Mbit/s overshoots by less than 60 s of its traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import NamedTuple

from domain.network import Plan
from domain.plan_rules import Blocking, Direction
from enforcement.attributes import (
    MIKROTIK_RECV_LIMIT,
    MIKROTIK_RECV_LIMIT_GIGAWORDS,
    MIKROTIK_TOTAL_LIMIT,
    MIKROTIK_TOTAL_LIMIT_GIGAWORDS,
    MIKROTIK_XMIT_LIMIT,
    MIKROTIK_XMIT_LIMIT_GIGAWORDS,
    Part,
    join,
    vendor_part,
)
from enforcement.entitlement import Entitlement, entitle
from enforcement.profiles import NasProfile
from enforcement.standing import Counter, Standing, Usage
from radius.codes import Vendor

LEAST_INTERIM_SECONDS = 60
"""RFC 2869 §5.16."""
MOST_OVERSHOOT_OCTETS = 100_000_000 // 8 * LEAST_INTERIM_SECONDS
"""What a line of 100 Mbit/s carries within the shortest interval."""
NEAR_SECONDS = 86_400
"""A threshold that the line can reach within a day is near."""
BACKSTOP_SECONDS = 45
"""How far beyond its octets, at full speed, the router ends a session: less than the 60 s that may be lost, and long
enough that the CoA nearly always comes first."""
WORD = 1 << 32
LARGEST_LIMIT = (1 << 64) - 1
MOST_STEPS = 16
"""Thresholds looked at for one that changes something; warnings lie between."""

_TOLD = slice(Entitlement._fields.index("walled"), Entitlement._fields.index("attributes") + 1)
"""The fields that say what a router is told."""


class Crossing(NamedTuple):
    """The next threshold at which a router is told something else."""

    octets: int
    """How many may be used until then."""
    stops: bool
    """Whether the line ends there, or is walled in."""


def by_volume(plan: Plan) -> Plan:
    """Return the plan by which the next crossing is found: a burst budget refills while it is used."""
    if plan.rules.burst_budget is None:
        return plan
    return replace(plan, rules=replace(plan.rules, burst_budget=None))


def next_crossing(
    line: Entitlement | None, plan: Plan, blocking: Blocking, standing: Standing, zone: tzinfo, now: datetime
) -> Crossing | None:
    """Return the next crossing that usage leads to; None when usage changes nothing.

    A burst budget has no fixed place: `plan` is one of `by_volume`. `line` is what `entitle` says of that plan now,
    where it was asked already.
    """
    weight = max([100, *(window.percent for window in plan.rules.weighing_octets)])
    line = line or entitle(plan, plan.rules, blocking, standing, zone, now)
    told, octets = line[_TOLD], 0
    for _ in range(MOST_STEPS):
        left = line.octets_left
        if left is None:
            return None
        octets += left
        standing = _after(standing, ((left + 1) * weight - 1) // 100, line.left_direction, now)
        line = entitle(plan, plan.rules, blocking, standing, zone, now)
        if not line.admitted or line[_TOLD] != told:
            return Crossing(octets, stops=line.walled or not line.admitted)
    return None


def _after(standing: Standing, octets: int, direction: Direction, now: datetime) -> Standing:
    """Return the standing after so many octets more."""
    nothing = Counter(now)
    usage = standing.usage or Usage(now, nothing, nothing, nothing)
    as_of, day, week, month, fup_month, sessions, line, ever, before = usage
    up, down = (octets, 0) if direction is Direction.UP else (0, octets)

    def add(counter: Counter) -> Counter:
        begins, octets_up, octets_down, seconds, rest = counter
        return Counter(begins, octets_up + up, octets_down + down, seconds, rest)

    fup_month, ever = None if fup_month is None else add(fup_month), add(ever or nothing)
    usage = Usage(as_of, add(day), add(week), add(month), fup_month, sessions, line, ever, before)
    return replace(standing, usage=usage)


def interim_seconds(entitlement: Entitlement, usual: int, profile: NasProfile) -> int:
    """Return the wished Acct-Interim-Interval of a session that begins now; never below 60 s (RFC 2869 §5.16).

    Where the line can reach a threshold within a day, it is so short that at full speed the line overshoots by no more
    than 60 s of 100 Mbit/s: 60 s for lines from 100 Mbit/s on, the usual for slow ones. A line that needs longer keeps
    the usual interval where the router ends such sessions by itself (`octet_limits`).
    """
    usual = max(usual, LEAST_INTERIM_SECONDS)
    left, rate = entitlement.octets_left, fastest(entitlement)
    if left is None or (profile.limits_octets and not _is_near(left, rate)):
        return usual
    allowed = LEAST_INTERIM_SECONDS if rate is None else MOST_OVERSHOOT_OCTETS * 8 // max(rate, 1)
    return max(LEAST_INTERIM_SECONDS, min(usual, allowed))


def _is_near(octets: int, rate: int | None) -> bool:
    """Tell whether the line can use so many octets within a day."""
    return rate is None or octets * 8 <= rate * NEAR_SECONDS


def fastest(entitlement: Entitlement) -> int | None:
    """Return the bit/s at which the line can use up what is left, bursting; None without limit."""
    down = _with_burst(entitlement.download, entitlement.burst_download)
    up = _with_burst(entitlement.upload, entitlement.burst_upload)
    match entitlement.left_direction:
        case Direction.DOWN:
            return down
        case Direction.UP:
            return up
        case Direction.BOTH:
            return None if down is None or up is None else down + up


def _with_burst(rate: int | None, burst: int | None) -> int | None:
    return rate if rate is None or burst is None else max(rate, burst)


def octet_limits(entitlement: Entitlement, crossing: Crossing | None, profile: NasProfile) -> list[Part]:
    """Return the limits by which the router ends a session that nobody slowed or ended in time.

    They belong into an Access-Accept: a CoA cannot change the Gigawords words (RouterOS's manual). A near crossing at
    which the line does not stop has none: its interims are frequent, and a limit would cut a line that was slowed as it
    should be. Recv is what comes from the subscriber. Total is listed by number only, so both single directions, which
    can never exceed the sum, stand beside it.
    """
    octets = _limit(entitlement, crossing, profile)
    if octets is None:
        return []
    low, high = _words(min(octets, LARGEST_LIMIT))
    return [
        vendor_part(Vendor.MIKROTIK, number, word)
        for numbers in _LIMITS[entitlement.left_direction]
        for number, word in zip(numbers, (low, high), strict=True)
    ]


def raised_limits(
    entitlement: Entitlement, crossing: Crossing | None, profile: NasProfile, *, up: int, down: int
) -> bytes:
    """Encode for a CoA the limits of an open session that was granted more; none where no CoA can carry them.

    `up` and `down` are the octets of the session. Only what is listed as changeable is sent: another attribute may have
    the whole request refused. Where a limit needs its Gigawords the one of the login stays, and the router ends the
    session there: it comes again, and is told new ones.
    """
    octets = _limit(entitlement, crossing, profile)
    if octets is None:
        return b""
    used = {_RECV: up, _XMIT: down}
    told = {words: used[words] + octets for words in _LIMITS[entitlement.left_direction] if words in used}
    if max(told.values()) > profile.largest_limit_by_coa:
        return b""
    return join([vendor_part(Vendor.MIKROTIK, low, limit.to_bytes(4)) for (low, _), limit in told.items()])


def _limit(entitlement: Entitlement, crossing: Crossing | None, profile: NasProfile) -> int | None:
    """Return after how many octets from now on the router is to end the session; None for never."""
    if crossing is None or not profile.limits_octets:
        return None
    rate = fastest(entitlement)
    if not crossing.stops and _is_near(crossing.octets, rate):
        return None
    beyond = MOST_OVERSHOOT_OCTETS if rate is None else rate // 8 * BACKSTOP_SECONDS
    return crossing.octets + beyond


def _words(octets: int) -> tuple[bytes, bytes]:
    high, low = divmod(octets, WORD)
    return low.to_bytes(4), high.to_bytes(4)


_RECV = (MIKROTIK_RECV_LIMIT, MIKROTIK_RECV_LIMIT_GIGAWORDS)
_XMIT = (MIKROTIK_XMIT_LIMIT, MIKROTIK_XMIT_LIMIT_GIGAWORDS)
_TOTAL = (MIKROTIK_TOTAL_LIMIT, MIKROTIK_TOTAL_LIMIT_GIGAWORDS)
_LIMITS: Mapping[Direction, tuple[tuple[int, int], ...]] = MappingProxyType(
    {Direction.UP: (_RECV,), Direction.DOWN: (_XMIT,), Direction.BOTH: (_TOTAL, _RECV, _XMIT)}
)
