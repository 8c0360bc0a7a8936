"""One Access-Request on its way through a batch: by which names it is looked up, what it needs, what it is told.

Rule: nothing here reads or writes anything; what a login is given is the plan's, less what the service replaces, for as
long as the shortest of what bounds a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from daemon.requests import AccessRequest
from domain.instants import SECOND_US, Microseconds, to_datetime
from domain.network import Plan, PoolKind
from enforcement.admission import calling_mac, client_key
from enforcement.credentials import Method, Verdict
from enforcement.entitlement import Entitlement
from enforcement.grants import session_timeout
from enforcement.profiles import NasProfile
from enforcement.reply import NOTHING_OWN, OwnAttributes, PlanReply, entitled_reply
from enforcement.thresholds import Crossing
from radius.codes import Type
from storage.admissions import Application
from storage.snapshot import Snapshot


class Login:
    """One Access-Request on its way through a batch."""

    __slots__ = (
        "address",
        "application",
        "crossing",
        "entitlement",
        "expires_us",
        "key",
        "limit",
        "mac",
        "mac_is_known",
        "method",
        "name",
        "nonce",
        "own",
        "plan",
        "plan_reply",
        "profile",
        "request",
        "service_id",
        "verdict",
    )

    def __init__(self, request: AccessRequest, key: str, method: Method, profile: NasProfile) -> None:
        self.request = request
        self.key = key
        self.method = method
        self.profile = profile
        self.service_id: int | None = None
        self.application: Application | None = None
        self.own = NOTHING_OWN
        self.address: str | None = None
        self.expires_us: int | None = None
        self.limit: int | None = None
        self.entitlement: Entitlement | None = None
        self.crossing: Crossing | None = None
        self.mac: str | None = None
        self.mac_is_known = False
        self.nonce = b""
        self.name: str
        self.plan: Plan
        self.plan_reply: PlanReply
        self.verdict: Verdict

    def client_mac(self) -> str | None:
        """Return the client's MAC, read once and only for logins that need it."""
        if not self.mac_is_known:
            self.mac = calling_mac(self.request.packet)
            self.mac_is_known = True
        return self.mac


def names_of(logins: Sequence[Login]) -> set[str]:
    """Return the names to look up; a Windows client's `DOMAIN\\user` may be known under its bare name."""
    names = {login.key for login in logins}
    names.update([key.partition("\\")[2] for key in names if "\\" in key])
    return names


def service_of(services: dict[str, Any], login: Login) -> Any:
    """Return the row of the service that a login is of, None without one."""
    row = services.get(login.key)
    if row is None and "\\" in login.key:
        return services.get(login.key.partition("\\")[2])
    return row


def application_of(login: Login, snapshot: Snapshot, plan: Plan, limit: int | None) -> Application | None:
    """Return what the login must be given before it is let in; None for most."""
    limit = limit or plan.simultaneous
    router = login.request.router
    fenced = login.entitlement is not None and login.entitlement.pool is not None
    needed = (
        (plan.pool_id if login.address is None and not fenced else None, PoolKind.IPV4),
        (plan.ipv6_pool_id, PoolKind.IPV6_PREFIX),
        (plan.delegated_pool_id, PoolKind.DELEGATED_PREFIX),
    )
    pool_ids = [
        pool_id
        for pool_id, kind in needed
        if pool_id is not None and kind not in login.own.supplied and snapshot.pools[pool_id].serves(router.id)
    ]
    if limit is None and not pool_ids:
        return None
    packet = login.request.packet
    client = client_key(packet, router.id, login.client_mac(), login.profile.port_attributes)
    bundle = packet.text(Type.ACCT_MULTI_SESSION_ID)
    application = Application(
        login.service_id or 0,
        client,
        login.nonce.hex(),
        limit,
        None if bundle is None else f"{router.id}/{bundle}",
    )
    for pool_id in pool_ids:
        application.ask_for(pool_id)
    return application


def tailored(
    plan_reply: PlanReply, own: OwnAttributes, expires_us: int | None, lease_seconds: int | None, now_us: Microseconds
) -> bytes:
    """Return what the plan gives, with what the service replaces and the shortest of what bounds the session."""
    seconds = plan_reply.session_timeout_seconds if own.session_timeout_seconds is None else own.session_timeout_seconds
    bounds = [seconds, lease_seconds, None if expires_us is None else (expires_us - now_us) // SECOND_US]
    shortest = min((bound for bound in bounds if bound is not None), default=None)
    given = plan_reply.without(own.kinds) if own.kinds else plan_reply.untimed
    return given + session_timeout(shortest) + own.octets


def entitled(login: Login, line: Entitlement, lease_seconds: int | None, now_us: Microseconds) -> bytes:
    """Return what the line may do now, and the shortest of what bounds the session."""
    reply = entitled_reply(line, login.plan, login.own, login.profile, crossing=login.crossing, login=login.name)
    ends_at = line.ends_at
    bounds = [
        reply.session_timeout_seconds,
        lease_seconds,
        None if ends_at is None else (ends_at - to_datetime(now_us)) // timedelta(seconds=1),
    ]
    return reply.octets + session_timeout(min((bound for bound in bounds if bound is not None), default=None))
