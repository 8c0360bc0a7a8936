"""Decides what one router does next: an agenda of logins, interims and endings, and the answers to what it hears.

Rule: sans I/O: instants come in, datagrams go out, chance is seeded. A router sends Start, Interim-Updates and Stop of
each session; a reboot loses its sessions without a Stop and moves the boot digit of Acct-Session-Id (RouterOS: `81`,
one boot digit, five session digits).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from ipaddress import ip_address
from random import Random

from domain.instants import SECOND_US, Microseconds
from radius.codes import AcctStatus, Code, Type
from radius.packet import Packet, encode_request, integer_attribute
from simulator.behaviour import AccountingOn, Behaviour
from simulator.description import RouterDescription, SubscriberDescription
from simulator.dynamic_authorization import DynamicAuthorization, Order, SessionBook, Verdict
from simulator.exchange import Channel, Exchange, Outgoing, Port, access_request
from simulator.rate_limit import NOTHING
from simulator.rates import UNLIMITED, Rates
from simulator.routeros_sessions import Incoming
from simulator.session import Cause, Grant, Line, RouterLook, Session, name_router, read_grant
from simulator.subscriber import Attempt, Subscriber
from simulator.tally import Tally
from simulator.truth import Ledger

FIRST_PORT = 15_728_640
"""NAS-Port of the first PPPoE session, as RouterOS counts."""
BOOT_SECONDS = 20.0
REDIAL_SECONDS = (2.0, 30.0)
"""Lines come back within this time after their router booted or threw them out."""

LIMIT_WATCH_US = SECOND_US
"""How often a session with a limit of octets is looked at."""

_PPP_SESSION = "81"
_BOOT_DIGITS = 16
_SESSION_NUMBERS = 1 << 20
_LOST_CARRIER_SHARE = 0.4

Task = Callable[[Microseconds], None]


class Router:
    """One router with its subscribers."""

    def __init__(
        self,
        description: RouterDescription,
        subscribers: Iterable[SubscriberDescription],
        behaviour: Behaviour,
        *,
        ledger: Ledger,
        tally: Tally,
        seed: int,
        now: Microseconds,
    ) -> None:
        self.description = description
        self.next_due_us: int | None = None
        self._behaviour = behaviour
        self._ledger = ledger
        self._tally = tally
        self._random = Random(f"{seed} {description.name}")
        self._secret = description.secret.reveal()
        self._authentication: Exchange[Attempt] = Exchange(Port.AUTHENTICATION, self._secret, tally)
        self._accounting: Exchange[Callable[[], None]] = Exchange(Port.ACCOUNTING, self._secret, tally)
        nas_address = ip_address(description.address).packed
        self.incoming = Incoming(accept=description.accepts_orders, port=description.coa_port)
        self.dynamic = DynamicAuthorization(
            self._secret,
            description.identifier,
            nas_address,
            incoming=self.incoming,
            faults=behaviour.faults.dynamic,
            unlisted=behaviour.faults.unlisted,
            random=Random(f"{seed} orders {description.name}"),
        )
        self.book = SessionBook()
        self.on_reboot: Callable[[Microseconds], None] = _ignore_reboot
        """Called when the router reboots by itself."""
        self._shapes: dict[bytes, Rates] = {}
        """What queues that somebody wrote leave to addresses without a queue of RADIUS's."""
        self._look = RouterLook(
            name=name_router(description.identifier, description.address),
            clock_offset_us=int(self._random.uniform(-1, 1) * behaviour.faults.clock_skew_seconds * SECOND_US),
            gigawords=behaviour.faults.gigawords,
            flip_counters=description.flip_counters,
        )
        self._subscribers = {
            known.login: Subscriber(known, _line(index, known), behaviour, self._random)
            for index, known in enumerate(subscribers)
        }
        self._agenda: list[tuple[int, int, Task]] = []
        self._agenda_entries = 0
        self._outbox: list[Outgoing] = []
        self._boot_digit = now // SECOND_US % _BOOT_DIGITS
        self._session_number = self._random.randrange(_SESSION_NUMBERS)
        self._own_addresses = 0
        self._up = False
        self._closing = False
        self._power_on(now)

    @property
    def sessions(self) -> int:
        """Return the number of open sessions."""
        return len(self.book)

    @property
    def is_up(self) -> bool:
        """Tell whether the router has booted."""
        return self._up

    @property
    def clock_offset_us(self) -> int:
        """Return how far the router's clock is ahead."""
        return self._look.clock_offset_us

    @property
    def is_quiet(self) -> bool:
        """Tell whether no session is open and no request waits."""
        return not (len(self.book) or self._authentication.waiting or self._accounting.waiting)

    def tick(self, now: Microseconds) -> list[Outgoing]:
        """Do what is due and return what leaves."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= now:
            heapq.heappop(agenda)[2](now)
        self._look_after_authentication(now)
        again, _ = self._accounting.overdue(now)
        self._outbox += again
        return self._leave()

    def receive(self, channel: Channel, datagram: bytes, now: Microseconds) -> list[Outgoing]:
        """Take in a datagram from the server on one of the client's sockets; return what leaves."""
        if channel.port is Port.ACCOUNTING:
            acknowledged = self._accounting.receive(channel.number, datagram, now)
            if acknowledged is not None:
                self._tally.accounting_responses += 1
                acknowledged.purpose()
            return self._leave()
        answer = self._authentication.receive(channel.number, datagram, now)
        if answer is not None:
            self._hear(answer.purpose, answer.packet, now)
        return self._leave()

    def receive_dynamic(self, datagram: bytes, source: Hashable, now: Microseconds) -> bytes | None:
        """Answer a datagram on the CoA port; None when it is not believed here. What follows waits for `tick`."""
        verdict = self.dynamic.judge(datagram, source, self.book, now) if self._up else None
        if verdict is None:
            return None
        self._count(verdict)
        if verdict.order is not None:
            self._obey(verdict.order, now)
        return verdict.reply if verdict.is_answered else None

    def kick(self, acct_session_id: str, now: Microseconds) -> None:
        """End a session as an operator of the router does."""
        for session in self.book.find(acct_session_id, None, None):
            self._plan(now, partial(self._end, session, Cause.ADMIN_RESET))
        self._set_alarm()

    def shape(self, address: bytes, rates: Rates | None, now: Microseconds) -> None:
        """Limit the sessions of an address that have no queue of RADIUS's; None lifts the limit."""
        if rates is None:
            self._shapes.pop(address, None)
        else:
            self._shapes[address] = rates
        for session in self.book.find(None, None, address):
            if session.rate_limit is None:
                session.change_rates(rates or UNLIMITED, now)

    def reboot(self, now: Microseconds) -> None:
        """Lose every session without a word; the lines dial again after the boot."""
        self._tally.reboots += 1
        self._agenda.clear()
        self.book.clear()
        self._authentication.forget()
        self._accounting.forget()
        self._boot_digit = (self._boot_digit + 1) % _BOOT_DIGITS
        self._session_number = 0
        self._up = False
        booted = self._behaviour.after(now, BOOT_SECONDS)
        self._plan(booted, self._boot)
        for subscriber in self._subscribers.values():
            subscriber.lose_power()
            if not self._closing:
                self._plan(self._redial(booted), partial(self._dial, subscriber))
        self._plan_reboot(booted)
        self._set_alarm()

    def shut_down(self, now: Microseconds, spread_us: int) -> None:
        """End every session with a Stop, spread over `spread_us`, and let nobody in again."""
        self._closing = True
        for subscriber in self._subscribers.values():
            if subscriber.session is not None:
                due = Microseconds(now + int(self._random.random() * spread_us))
                self._plan(due, partial(self._end, subscriber.session, Cause.NAS_REQUEST))
        self._set_alarm()

    def _power_on(self, now: Microseconds) -> None:
        """Boot for the first time; logins are spread over the ramp, in real time."""
        self._boot(now)
        for subscriber in self._subscribers.values():
            due = now + int(self._random.random() * self._behaviour.ramp_seconds * SECOND_US)
            if subscriber.demand is not None:
                due = now
            self._plan(Microseconds(due), partial(self._dial, subscriber))
        self._plan_reboot(now)
        self._set_alarm()

    def _boot(self, now: Microseconds) -> None:
        self._up = True
        policy = self._behaviour.faults.accounting_on
        as_made = policy is AccountingOn.PROFILE and self.description.profile != "mikrotik"
        if as_made or policy is AccountingOn.ALWAYS:
            self._plan(now, self._announce)

    def _announce(self, now: Microseconds) -> None:
        clock = Microseconds(now + self._look.clock_offset_us) // SECOND_US
        attributes = (
            integer_attribute(Type.ACCT_STATUS_TYPE, AcctStatus.ACCOUNTING_ON)
            + integer_attribute(Type.EVENT_TIMESTAMP, clock)
            + integer_attribute(Type.ACCT_DELAY_TIME, 0)
            + self._look.name
        )
        self._account(attributes, _nothing, now)

    def _plan_reboot(self, now: Microseconds) -> None:
        every = self._behaviour.faults.reboot_every_seconds
        if every is not None:
            self._plan(self._behaviour.after(now, every * self._random.uniform(0.5, 1.5)), self._reboot)

    def _reboot(self, now: Microseconds) -> None:
        self.reboot(now)
        self.on_reboot(now)

    def _redial(self, now: Microseconds) -> Microseconds:
        return self._behaviour.after(now, self._random.uniform(*REDIAL_SECONDS))

    def _dial(self, subscriber: Subscriber, now: Microseconds) -> None:
        if self._closing or subscriber.dialling or subscriber.session is not None:
            return
        authenticator = self._random.randbytes(16)
        attempt = Attempt(subscriber, subscriber.prove(self._secret, authenticator))
        encode = partial(
            access_request,
            attributes=subscriber.line.encode() + attempt.proof.attributes + self._look.name,
            secret=self._secret,
            authenticator=authenticator,
            sign=self.description.signs_requests,
        )
        outgoing = self._authentication.send(attempt, encode, now)
        if outgoing is None:
            self._plan(subscriber.come_back(now, refused=False), partial(self._dial, subscriber))
            return
        subscriber.dialling = True
        self._tally.access_requests += 1
        self._outbox.append(outgoing)

    def _look_after_authentication(self, now: Microseconds) -> None:
        again, given_up = self._authentication.overdue(now)
        self._outbox += again
        for attempt in given_up:
            self._plan(attempt.subscriber.come_back(now, refused=False), partial(self._dial, attempt.subscriber))

    def _hear(self, attempt: Attempt, packet: Packet, now: Microseconds) -> None:
        """Take in the answer to a login."""
        subscriber = attempt.subscriber
        grant = self._accepted(attempt, packet)
        if grant is None:
            self._plan(subscriber.come_back(now, refused=True), partial(self._dial, subscriber))
            return
        self._tally.accepts += 1
        subscriber.dialling = False
        subscriber.failures = 0
        if not self._closing:
            self._start(subscriber, grant, now)

    def _accepted(self, attempt: Attempt, packet: Packet) -> Grant | None:
        """Return what was granted; None for a refusal, and for an Accept that the router cannot trust or read."""
        if packet.code != Code.ACCESS_ACCEPT:
            self._tally.rejects += 1
            return None
        try:
            if attempt.subscriber.believes(packet, attempt.proof):
                return read_grant(packet)
        except ValueError:
            pass
        self._tally.distrusted += 1
        return None

    def _start(self, subscriber: Subscriber, grant: Grant, now: Microseconds) -> None:
        account = self._ledger.open(subscriber.description.login, self.description.name, self._next_session_id(), now)
        session = Session(
            account,
            subscriber.line,
            grant,
            grant.address or self._own_address(),
            subscriber.habit,
            speed=self._behaviour.speed,
            random=self._random,
            demand=subscriber.demand,
        )
        if grant.rate_limit is None:
            session.rates = self._shapes.get(session.address, UNLIMITED)
        subscriber.session = session
        self.book.add(session)
        self._tally.sessions_started += 1
        self._report(session, AcctStatus.START, now)
        self._plan_interims(session, now)
        self._watch_limits(session, now)
        cause = Cause.LOST_CARRIER if self._random.random() < _LOST_CARRIER_SHARE else Cause.USER_REQUEST
        stays_seconds, timeout_seconds = subscriber.session_seconds(), grant.session_timeout_seconds
        if timeout_seconds and timeout_seconds < stays_seconds:
            self._limit(session, timeout_seconds, Cause.SESSION_TIMEOUT, now)
        else:
            self._limit(session, stays_seconds, cause, now)

    def _limit(self, session: Session, seconds: float, cause: int, now: Microseconds) -> None:
        """Let the session end `seconds` after its start, or now when that is past."""
        session.ends_us = max(self._behaviour.after(session.started_us, seconds), now)
        session.end_cause = cause
        self._plan(session.ends_us, partial(self._expire, session))

    def _expire(self, session: Session, now: Microseconds) -> None:
        # A CoA may have moved the end since this was planned; then another task stands at the new one.
        if now >= session.ends_us:
            self._end(session, session.end_cause, now)

    def _watch_limits(self, session: Session, now: Microseconds) -> None:
        """End a session that has used up its octets; one without a limit is left alone."""
        if not session.is_open or session.limit_octets == NOTHING:
            return
        session.advance(now)
        if session.is_spent:
            self._end(session, Cause.NAS_REQUEST, now)
        else:
            self._plan(Microseconds(now + LIMIT_WATCH_US), partial(self._watch_limits, session))

    def _plan_interims(self, session: Session, now: Microseconds) -> None:
        if self._behaviour.interim_seconds is not None:
            session.interim_seconds = self._behaviour.interim_seconds
        if session.interim_seconds:
            session.interim_due_us = self._behaviour.after(now, session.interim_seconds)
            self._plan(session.interim_due_us, partial(self._interim, session, session.interim_due_us))

    def _interim(self, session: Session, due: Microseconds, now: Microseconds) -> None:
        # A CoA may have moved the next one since this was planned.
        if session.is_open and session.interim_due_us == due:
            self._report(session, AcctStatus.INTERIM, now)
            self._plan_interims(session, now)

    def _end(self, session: Session, cause: int, now: Microseconds) -> None:
        """End a session that is still open, mostly with a Stop."""
        if not session.is_open:
            return
        subscriber = self._subscribers[session.login]
        session.is_open = False
        subscriber.session = None
        self.book.remove(session)
        self._tally.sessions_stopped += 1
        if self._random.random() >= self._behaviour.faults.lost_stops:
            self._report(session, AcctStatus.STOP, now, cause)
        thrown_out = cause == Cause.ADMIN_RESET
        back = self._redial(now) if thrown_out else self._behaviour.after(now, subscriber.think_seconds())
        self._plan(back, partial(self._dial, subscriber))

    def _report(self, session: Session, status: AcctStatus, now: Microseconds, cause: int | None = None) -> None:
        up, down = session.account.reported_up, session.account.reported_down
        record = session.record(status, now, self._look, cause)
        self._tally.octets_up += record.octets_up - up
        self._tally.octets_down += record.octets_down - down
        self._account(record.attributes, record.acknowledge, now)

    def _account(self, attributes: bytes, acknowledged: Callable[[], None], now: Microseconds) -> None:
        encode = partial(_accounting_request, attributes=attributes, secret=self._secret)
        outgoing = self._accounting.send(acknowledged, encode, now)
        if outgoing is not None:
            self._tally.accounting_requests += 1
            self._outbox.append(outgoing)

    def _obey(self, order: Order, now: Microseconds) -> None:
        session = order.session
        if order.disconnect:
            self._plan(now, partial(self._end, session, Cause.ADMIN_RESET))
        if order.rates is not None:
            session.change_rates(order.rates, now)
        if order.rate_limit is not None:
            session.rate_limit = order.rate_limit
        if order.session_timeout_seconds is not None:
            self._limit(session, order.session_timeout_seconds, Cause.SESSION_TIMEOUT, now)
        if order.address_list is not None:
            session.address_list = order.address_list
        if order.interim_seconds is not None:
            self._change_interims(session, order.interim_seconds, now)
        if order.limit_octets is not None:
            watched = session.limit_octets != NOTHING
            session.limit_octets = order.limit_octets
            if not watched:
                self._plan(now, partial(self._watch_limits, session))
        self._set_alarm()

    def _change_interims(self, session: Session, seconds: int, now: Microseconds) -> None:
        """Report at another interval, from now on; the option of the fleet beats the server."""
        if seconds != session.interim_seconds and self._behaviour.interim_seconds is None:
            session.interim_seconds = seconds
            self._plan_interims(session, now)

    def _count(self, verdict: Verdict) -> None:
        if verdict.is_duplicate:
            self._tally.dynamic_duplicates += 1
        elif verdict.code is Code.COA_ACK:
            self._tally.coa_acknowledged += 1
        elif verdict.code is Code.COA_NAK:
            self._tally.coa_refused += 1
        elif verdict.code is Code.DISCONNECT_ACK:
            self._tally.disconnects_acknowledged += 1
        else:
            self._tally.disconnects_refused += 1

    def _plan(self, due: Microseconds, task: Task) -> None:
        self._agenda_entries += 1
        heapq.heappush(self._agenda, (due, self._agenda_entries, task))

    def _leave(self) -> list[Outgoing]:
        """Return what waits to leave."""
        self._set_alarm()
        outbox, self._outbox = self._outbox, []
        return outbox

    def _set_alarm(self) -> None:
        """Set when this router wants to be woken next."""
        dues = (
            self._agenda[0][0] if self._agenda else None,
            self._authentication.next_due_us,
            self._accounting.next_due_us,
        )
        self.next_due_us = min((due for due in dues if due is not None), default=None)

    def _next_session_id(self) -> str:
        """Return an Acct-Session-Id that no open session has."""
        while True:
            self._session_number = (self._session_number + 1) % _SESSION_NUMBERS
            acct_session_id = f"{_PPP_SESSION}{self._boot_digit:x}{self._session_number:05x}"
            if acct_session_id not in self.book:
                return acct_session_id

    def _own_address(self) -> bytes:
        """Return the next address of the router's own pool, 10.200.0.0/16."""
        self._own_addresses = self._own_addresses % 65_534 + 1
        return bytes((10, 200)) + self._own_addresses.to_bytes(2)


def _line(index: int, subscriber: SubscriberDescription) -> Line:
    return Line(
        login=subscriber.login,
        mac=subscriber.mac,
        port=FIRST_PORT + index,
        port_name=f"vlan{100 + index % 40}",
        server_name="pppoe-main",
    )


def _accounting_request(identifier: int, attributes: bytes, secret: bytes) -> bytes:
    return encode_request(Code.ACCOUNTING_REQUEST, identifier, attributes, secret, sign=False)


def _ignore_reboot(_now: Microseconds) -> None:
    """Stand in where nobody wants to know."""


def _nothing() -> None:
    """Acknowledge what the ledger does not count."""
