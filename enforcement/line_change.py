"""What has to be said to one router so that one line gets what it may, and which ways there are to say it.

Rule: only what differs from what is in force is told. Where nobody knows what is in force, everything that could differ
between the states of such a plan is told; an address list that no CoA changes goes by the API, and what neither changes
needs a new login. The end of a session that a router cannot be told of is kept by us, with a Disconnect at its moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from enforcement.entitlement import Entitlement
from enforcement.grants import change, differences
from enforcement.profiles import Aspect, NasProfile
from enforcement.reconcile import Capabilities
from radius.codes import Type
from radius.packet import integer_attribute

BY_API = frozenset({Aspect.ADDRESS_LIST})
"""What the RouterOS API can change of a line that RADIUS opened; its queue is the router's own and not to be edited."""
READ_BACK = frozenset({Aspect.RATES, Aspect.ADDRESS_LIST})
"""What the RouterOS API shows of it."""
LONGEST_TIMEOUT = 0x7FFFFFFF
"""68 years: a router that was told of an end learns that there is none."""


class LineChange(NamedTuple):
    """How a line is brought to what it should get."""

    attributes: bytes
    """Of the CoA-Request; none: there is nothing to tell by CoA."""
    lists: bool
    """Whether the API sets the address list."""
    capabilities: Capabilities

    @property
    def is_nothing(self) -> bool:
        """Tell whether the router is to be told nothing at all."""
        return self.capabilities.complete and not self.attributes and not self.lists


class Wish(NamedTuple):
    """One line as it should be: its entitlement and the names for templates."""

    entitlement: Entitlement
    started_at: datetime
    login: str
    plan: str


DISCONNECTION = LineChange(b"", lists=False, capabilities=Capabilities(coa=False, complete=False))


BY_API_ALONE = LineChange(
    b"",
    lists=True,
    capabilities=Capabilities(coa=False, api=True, api_alone=True, read_back=True, kick=True, disconnect=False),
)
"""Of a line that an API counts (`enforcement.polled_accounting`): no NAS knows its session."""


def line_change(
    wish: Wish,
    before: Entitlement | None,
    profile: NasProfile,
    *,
    candidates: Iterable[Entitlement] = (),
    has_api: bool = False,
) -> LineChange:
    """Return what brings a line from `before` to `wish`.

    `before` None is not known; `candidates` then are what may be in force. `has_api` says that this router's API is
    open to us. Raise `ValueError` for a template of the plan that gives no fitting value.
    """
    kick = has_api and profile.api
    if not wish.entitlement.admitted:
        return _disconnection(kick)
    differing = _differing(wish, before, profile, candidates)
    lists = kick and Aspect.ADDRESS_LIST in differing and Aspect.ADDRESS_LIST not in profile.changeable
    elsewhere = profile.told() - differing
    if lists:
        elsewhere |= BY_API
    told = change(wish.entitlement, before, profile, elsewhere=elsewhere, login=wish.login, plan=wish.plan)
    if told is None:
        return _disconnection(kick)
    attributes = told + _session_timeout(wish, before, profile)
    capabilities = Capabilities(
        coa=bool(attributes),
        api=lists,
        complete=True,
        api_alone=lists and not attributes,
        read_back=kick and bool(differing & READ_BACK),
        kick=kick,
    )
    return LineChange(attributes, lists, capabilities)


def _disconnection(kick: bool) -> LineChange:
    return DISCONNECTION._replace(capabilities=DISCONNECTION.capabilities._replace(kick=kick, read_back=kick))


def _differing(
    wish: Wish, before: Entitlement | None, profile: NasProfile, candidates: Iterable[Entitlement]
) -> frozenset[Aspect]:
    """Return the aspects of which the router has to be told, or may have to be."""
    if before is not None:
        return differences(wish.entitlement, before, profile, login=wish.login, plan=wish.plan)
    found = {Aspect.RATES} & profile.told()
    for candidate in candidates:
        found |= differences(wish.entitlement, candidate, profile, login=wish.login, plan=wish.plan)
    return frozenset(found)


def _session_timeout(wish: Wish, before: Entitlement | None, profile: NasProfile) -> bytes:
    """Return Session-Timeout, counted from the session's start, where it differs and the router takes it."""
    ends_at = wish.entitlement.ends_at
    was = None if before is None else before.ends_at
    if Aspect.SESSION_TIMEOUT not in profile.changeable or was == ends_at:
        return b""
    seconds = LONGEST_TIMEOUT if ends_at is None else int((ends_at - wish.started_at).total_seconds())
    return integer_attribute(Type.SESSION_TIMEOUT, max(1, min(seconds, LONGEST_TIMEOUT)))
