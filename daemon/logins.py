"""The login lane: one batch of Access-Requests -> one read -> decisions -> at most one transaction -> their answers.

Rule: services are read fresh for every batch; nothing about a credential is kept. What a plan without rules gives is
known beforehand; where rules, an account or an operator have a say, one more read tells what the line may do now. An
Access-Accept whose address or place had to be written leaves after that commit. When the database is away nobody is
answered. Refusals are stored behind the answers, never before them.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import structlog

from daemon.drops import Drop
from daemon.login import Login, application_of, entitled, names_of, service_of, tailored
from daemon.requests import AccessRequest
from domain.errors import CaudalError
from domain.instants import SECOND_US, Microseconds, to_datetime
from domain.names import is_mac, login_key
from domain.network import Plan, PoolKind, RouterId
from domain.plan_rules import Blocking
from enforcement.admission import REASONS, REPLY_MESSAGES, RefusalReason, objection
from enforcement.attributes import join
from enforcement.credentials import Method, Proof, Verdict, method_of, refusal_attributes, verify
from enforcement.entitlement import Refusal, entitle, fingerprint
from enforcement.grants import grant, is_fenced, session_timeout
from enforcement.profiles import PROFILES
from enforcement.refusals import (
    MINUTE_US,
    STRANGER_SECONDS,
    DeviceThrottle,
    GardenGate,
    RefusalKey,
    RefusalLog,
    RejectDelay,
)
from enforcement.reply import (
    NOTHING_OWN,
    ReplyBook,
    framed_address,
    framed_prefix,
    framing,
    of_garden,
    own_attributes,
)
from enforcement.thresholds import next_crossing
from radius import class_token
from radius.class_token import NO_FINGERPRINT, NONCE_OCTETS
from radius.codes import Code, Type
from radius.packet import attribute, readable
from storage import admissions, standings
from storage.admissions import AdmissionDesk
from storage.leases import Lease
from storage.pipeline import DatabaseAway, PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault, VaultError

STORE_SECONDS = 0.25
"""How long refusals may wait until they are stored and shown."""
CLASS_HEAD = bytes((Type.CLASS, class_token.TOKEN_OCTETS + 2))
CUI_OCTETS = 16

_ACCEPT = int(Code.ACCESS_ACCEPT)
_USER_NAME = int(Type.USER_NAME)
_CUI = int(Type.CHARGEABLE_USER_IDENTITY)
_FRAMED_IP = (0, int(Type.FRAMED_IP_ADDRESS), b"")
_PROOF_REASONS = {
    Proof.WRONG: RefusalReason.WRONG_PASSWORD,
    Proof.MALFORMED: RefusalReason.BAD_REQUEST,
    Proof.UNSUPPORTED: RefusalReason.UNSUPPORTED_METHOD,
}


class _Wants(Enum):
    """What a login needs before it can be answered."""

    STANDING = "standing"
    PLACE = "place"
    """Or a lease, or both."""


class LoginLane:
    """Settles batches of logins over one database connection."""

    def __init__(
        self,
        connection: PipelineConnection,
        vault: Vault,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], Microseconds],
        reject_delay_milliseconds: int | None,
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._snapshot = snapshot
        self._clock = clock
        self._class_key = vault.derive(b"class")
        self._state_key = vault.derive(b"state")
        self._cui_key = vault.derive(b"chargeable-user-identity")
        self._desk = AdmissionDesk(connection)
        self._book_of: Snapshot | None = None
        self._book = ReplyBook({})
        self._zone: tzinfo = UTC
        self._gate = GardenGate()
        self._told_pools: set[tuple[str, str]] = set()
        self._delay = RejectDelay(reject_delay_milliseconds)
        self._throttle = DeviceThrottle()
        self._refusals = RefusalLog()
        self._lock = asyncio.Lock()
        self._log = structlog.get_logger()
        self.accepted = 0
        self.refused: Counter[RefusalReason] = Counter()

    async def open(self) -> None:
        """Connect; raise `DatabaseAway`."""
        async with self._lock:
            await self._connection.open()

    async def probe(self) -> None:
        """Ask the database for nothing; raise `DatabaseAway` when it does not answer."""
        async with self._lock:
            await self._connection.probe()

    def delay_rejects(self, milliseconds: int | None) -> None:
        """Delay refusals by so much from now on; None leaves it to each router's profile."""
        self._delay.set(milliseconds)

    async def run(self) -> None:
        """Store refusals for ever, off the path."""
        while True:
            await asyncio.sleep(STORE_SECONDS)
            await self.store_refusals()

    async def close(self) -> None:
        """Store what waits and close the connection."""
        await self.store_refusals()
        self._connection.close()

    def _tell_of_pools(self, login: Login, snapshot: Snapshot, plan: Plan) -> None:
        """Say once of each router that a pool gives nothing to its subscribers."""
        router = login.request.router
        for name in _strange_pools(snapshot, plan, router.id) if login.address is None else ():
            if (name, router.name) not in self._told_pools:
                self._told_pools.add((name, router.name))
                self._log.warning(
                    "pool does not serve router",
                    pool=name,
                    router=router.name,
                    plan=plan.name,
                    hint="its logins get no address of ours; add it to `routers` of the pool if they should",
                )

    async def store_refusals(self) -> None:
        """Store the refusals that wait; while the database is away they keep waiting, bounded."""
        if not self._refusals or not self._connection.is_open:
            return
        async with self._lock:
            try:
                await admissions.store_refusals(self._connection, self._refusals)
            except DatabaseAway:
                return
            except psycopg2.Error:
                self._log.exception("refusals not stored")

    async def settle(self, requests: Sequence[AccessRequest]) -> None:
        """Answer `requests`; raise `DatabaseAway` with the rest unanswered."""
        async with self._lock:
            snapshot = self._snapshot()
            if snapshot is not self._book_of:
                self._book_of, self._book = snapshot, ReplyBook(snapshot.plans)
                self._zone = ZoneInfo(snapshot.timezone)
                self._told_pools.clear()
            now_us = self._clock()
            logins = self._begin(requests, now_us)
            if not logins:
                return
            rows = await self._connection.query(admissions.read_services(names_of(logins)))
            services = {row[0]: row for row in rows}
            nonces = os.urandom(NONCE_OCTETS * len(logins))
            applicants: list[Login] = []
            ruled: list[Login] = []
            for place, login in enumerate(logins):
                login.nonce = nonces[place * NONCE_OCTETS : (place + 1) * NONCE_OCTETS]
                wants = self._decide(login, service_of(services, login), snapshot, now_us)
                if wants is not None:
                    (ruled if wants is _Wants.STANDING else applicants).append(login)
            if ruled:
                applicants += await self._entitle(ruled, snapshot, now_us)
            if applicants:
                await self._admit(applicants, snapshot, now_us)

    def _begin(self, requests: Sequence[AccessRequest], now_us: Microseconds) -> list[Login]:
        """Refuse what needs no look-up and return the rest."""
        logins = []
        for request in requests:
            packet = request.packet
            name = packet.get(_USER_NAME)
            key = login_key(readable(name)) if name else ""
            login = Login(request, key, method_of(packet), PROFILES[request.router.profile])
            if not key or login.method is Method.EAP or login.method is Method.MIXED:
                self._refuse(login, RefusalReason.BAD_REQUEST, now_us)
                continue
            if is_mac(key):
                reason = self._throttle.refusal_in_force(request.router.id, key, now_us)
                if reason is not None:
                    self._refuse(login, reason, now_us, looked_up=False)
                    continue
            logins.append(login)
        return logins

    def _decide(self, login: Login, row: Any, snapshot: Snapshot, now_us: Microseconds) -> _Wants | None:
        """Answer one login, or return what it needs first."""
        if row is None:
            self._turn_away(login, RefusalReason.UNKNOWN_USER, snapshot.blocking, now_us)
            return None
        name, service_id, sealed, plan_id, address, macs, router_ids, limit, enabled, expires_us, own, special = row
        request = login.request
        login.service_id = service_id
        try:
            verdict = self._prove(login, self._vault.open(bytes(sealed), b"service:" + name.encode()), name)
        except VaultError as error:
            self._log.error("service cannot be opened", error=str(error))
            request.give_up(Drop.VAULT)
            return None
        if verdict.proof is not Proof.RIGHT:
            self._turn_away(login, _PROOF_REASONS[verdict.proof], _blocking(snapshot, plan_id), now_us)
            return None
        if not enabled or expires_us is not None or router_ids or macs:
            reason = objection(
                enabled=enabled,
                expires_us=expires_us,
                router_ids=router_ids,
                macs=macs,
                router_id=request.router.id,
                client_mac=login.client_mac() if macs else None,
                now_us=now_us,
            )
            if reason is not None:
                self._refuse(login, reason, now_us)
                return None
        plan_reply = self._book.find(plan_id, login.profile)
        if plan_reply is None:
            # The plan is newer than our snapshot; the router's retransmission finds both.
            request.give_up(Drop.PLAN_UNKNOWN)
            return None
        login.plan_reply = plan_reply
        login.verdict = verdict
        login.expires_us = expires_us
        if own is not None:
            login.own = own_attributes(bytes(own), login.profile.vendors)
        if _FRAMED_IP not in login.own.kinds:
            login.address = address
        if special or plan_reply.has_rules:
            login.name, login.plan, login.limit = name, snapshot.plans[plan_id], limit
            return _Wants.STANDING
        if limit is not None or not plan_reply.is_free:
            login.application = application_of(login, snapshot, snapshot.plans[plan_id], limit)
            self._tell_of_pools(login, snapshot, snapshot.plans[plan_id])
        if login.application is None:
            self._accept(login, now_us)
            return None
        return _Wants.PLACE

    async def _entitle(self, logins: Sequence[Login], snapshot: Snapshot, now_us: Microseconds) -> list[Login]:
        """Decide by what each line may do now; return the logins that need a place or a lease."""
        now = to_datetime(now_us)
        ids = sorted({login.service_id or 0 for login in logins})
        rows = {row[0]: row for row in await self._connection.query(standings.meters(ids, now))}
        applicants = []
        for login in logins:
            row = rows.get(login.service_id)
            if row is None:
                # Deleted since it was read; the router's retransmission finds nobody.
                login.request.give_up(Drop.PLAN_UNKNOWN)
            elif self._judge(login, row, snapshot, now_us, now):
                login.application = application_of(login, snapshot, login.plan, login.limit)
                self._tell_of_pools(login, snapshot, login.plan)
                if login.application is None:
                    self._accept(login, now_us)
                else:
                    applicants.append(login)
        return applicants

    def _judge(self, login: Login, row: Any, snapshot: Snapshot, now_us: Microseconds, now: datetime) -> bool:
        """Tell whether the line may be used, if only in the walled garden; else refuse."""
        plan, zone = login.plan, self._zone
        standing = standings.standing_of(row, plan.rules, zone, now)
        line = entitle(plan, plan.rules, snapshot.blocking, standing, zone, now)
        if line.admitted and line.walled:
            usual = plan.rules.address_list
            admitted = is_fenced(line, usual, login.profile, login=login.name, plan=plan.name)
        else:
            admitted = line.admitted
        if not admitted:
            self._refuse(login, REASONS[line.refusal or Refusal.BLOCKED], now_us)
            return False
        login.entitlement = line
        if line.octets_left is not None and login.profile.limits_octets:
            by_volume = login.plan_reply.by_volume
            known = line if by_volume is plan else None
            login.crossing = next_crossing(known, by_volume, snapshot.blocking, standing, zone, now)
        if line.pool is not None:
            login.address = None
        return True

    def _prove(self, login: Login, service_secret: bytes, name: str) -> Verdict:
        request = login.request
        packet = request.packet
        if login.method is Method.NONE:
            state = packet.get(Type.STATE)
            token = None if state is None else class_token.parse(self._state_key, state)
            if token is not None and token.service_id == login.service_id:
                return Verdict(Proof.RIGHT)
        return verify(login.method, packet, request.router.secret.reveal(), service_secret, name)

    async def _admit(self, logins: Sequence[Login], snapshot: Snapshot, now_us: Microseconds) -> None:
        """Give places and leases, commit, answer."""
        applications = [login.application for login in logins if login.application is not None]
        await self._desk.settle(applications, snapshot.pools, now_us)
        for login in logins:
            application = login.application
            if application is None:
                continue
            if application.refused is not None:
                if application.refused is RefusalReason.POOL_EXHAUSTED:
                    pools = [snapshot.pools[want.pool_id].name for want in application.wants]
                    self._log.warning("pool exhausted", pools=pools, login=login.key)
                self._refuse(login, application.refused, now_us)
            else:
                self._accept_leased(login, application.leases, snapshot, now_us)

    def _accept_leased(self, login: Login, leases: dict[int, Lease], snapshot: Snapshot, now_us: Microseconds) -> None:
        parts = []
        seconds: int | None = None
        for pool_id, lease in leases.items():
            pool = snapshot.pools[pool_id]
            if pool.kind is PoolKind.IPV4:
                login.address = lease.address
            else:
                parts.append(framed_prefix(pool.kind, lease.address))
            if pool.lease_seconds is not None:
                left = min(pool.lease_seconds, (lease.expires_us - now_us) // SECOND_US)
                seconds = left if seconds is None else min(seconds, left)
        self._accept(login, now_us, b"".join(parts), seconds)

    def _accept(
        self, login: Login, now_us: Microseconds, prefixes: bytes = b"", lease_seconds: int | None = None
    ) -> None:
        """Send the Access-Accept."""
        request = login.request
        packet = request.packet
        service_id = login.service_id or 0
        own = login.own
        expires_us = login.expires_us
        line = login.entitlement
        told = NO_FINGERPRINT
        if line is not None:
            try:
                given = entitled(login, line, lease_seconds, now_us)
            except (CaudalError, ValueError) as error:
                self._log.error("the plan's own attributes give no answer", plan=login.plan.name, error=str(error))
                self._refuse(login, RefusalReason.REPLY_TOO_LONG, now_us)
                return
            told = fingerprint(line)
        elif own is NOTHING_OWN and expires_us is None and lease_seconds is None:
            given = login.plan_reply.timed
        else:
            given = tailored(login.plan_reply, own, expires_us, lease_seconds, now_us)
        parts = [
            framing(packet),
            b"" if login.address is None else framed_address(login.address),
            prefixes,
            given,
            CLASS_HEAD,
            class_token.build(self._class_key, service_id, login.nonce, told),
            login.verdict.attributes,
        ]
        if packet.get(_CUI) is not None:
            parts.append(attribute(_CUI, self._chargeable_identity(service_id)))
        if own.asks_back:
            parts.append(attribute(Type.STATE, class_token.build(self._state_key, service_id, login.nonce)))
        try:
            request.answer(_ACCEPT, b"".join(parts))
        except ValueError:
            self._refuse(login, RefusalReason.REPLY_TOO_LONG, now_us)
        else:
            self.accepted += 1

    def _chargeable_identity(self, service_id: int) -> bytes:
        """Return what names the subscriber towards a visited network without telling who it is (RFC 4372)."""
        return hmac.digest(self._cui_key, service_id.to_bytes(8), "sha256")[:CUI_OCTETS].hex().encode()

    def _turn_away(self, login: Login, reason: RefusalReason, blocking: Blocking, now_us: Microseconds) -> None:
        """Refuse who proved nothing, or let it into the walled garden where the ISP wants that."""
        if not self._gate.wants(blocking, reason, login.method):
            self._refuse(login, reason, now_us)
            return
        request = login.request
        garden = of_garden(blocking.garden)
        fenced = is_fenced(garden, None, login.profile)
        if not fenced or not self._gate.has_room(request.router.id, login.key, now_us):
            self._refuse(login, reason, now_us)
            return
        self._take_down(login, reason, now_us, looked_up=True)
        token = class_token.build(self._class_key, None, login.nonce, fingerprint(garden))
        attributes = join(grant(garden, login.profile)) + session_timeout(STRANGER_SECONDS)
        try:
            request.answer(_ACCEPT, b"".join((framing(request.packet), attributes, CLASS_HEAD, token)))
        except ValueError:
            request.give_up(Drop.REPLY_TOO_LONG)

    def _take_down(self, login: Login, reason: RefusalReason, now_us: Microseconds, *, looked_up: bool) -> None:
        """Count and keep a refusal."""
        router = login.request.router
        self.refused[reason] += 1
        device = login.client_mac()
        key = RefusalKey(now_us // MINUTE_US, login.key, reason, login.method, router.id, device, login.service_id)
        self._refusals.note(key, now_us)
        if looked_up and is_mac(login.key):
            self._throttle.refused(router.id, login.key, reason, now_us)

    def _refuse(self, login: Login, reason: RefusalReason, now_us: Microseconds, *, looked_up: bool = True) -> None:
        """Send a delayed Access-Reject that carries nothing of the service (RFC 5080 §2.6.1), and take it down."""
        request = login.request
        router = request.router
        self._take_down(login, reason, now_us, looked_up=looked_up)
        # A Reply-Message beside EAP confuses supplicants (RFC 3579 §2.6.5).
        message = b"" if login.method is Method.EAP else REPLY_MESSAGES[reason]
        delay = self._delay.seconds(login.profile, reason, router.id, login.key, now_us)
        try:
            request.refuse(message + refusal_attributes(login.method, request.packet), delay)
        except ValueError:
            # Its own Proxy-States fill the packet.
            request.give_up(Drop.REPLY_TOO_LONG)


def _strange_pools(snapshot: Snapshot, plan: Plan, router_id: RouterId) -> list[str]:
    """Return the pools of a plan from which subscribers at a router get nothing."""
    pools = (plan.pool_id, plan.ipv6_pool_id, plan.delegated_pool_id)
    return [
        snapshot.pools[pool_id].name
        for pool_id in pools
        if pool_id is not None and not snapshot.pools[pool_id].serves(router_id)
    ]


def _blocking(snapshot: Snapshot, plan_id: int) -> Blocking:
    """Return what happens to blocked lines of a plan."""
    plan = snapshot.plans.get(plan_id)
    return snapshot.blocking if plan is None else plan.rules.blocking or snapshot.blocking
