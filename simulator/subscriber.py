"""Decides how a subscriber dials: its credentials, what it believes of an answer, when it comes back.

Rule: after each failure it waits twice as long, as customers' boxes do; a silent server is tried again sooner.
"""

from __future__ import annotations

from hmac import compare_digest
from random import Random
from typing import NamedTuple

from domain.instants import Microseconds
from radius import chap, mschap, pap
from radius.codes import Microsoft, Type, Vendor
from radius.packet import Packet, attribute, vendor_attribute
from simulator.behaviour import Behaviour
from simulator.description import Method, SubscriberDescription
from simulator.session import Line, Session
from simulator.traffic import Demand, Habit, choose_habit, download_demand

FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 300.0
SILENCE_RETRY_SECONDS = 5.0
RETRY_JITTER = 0.2
RESTLESS_SHARE = 0.2
"""Lines that come and go all day; the others stay until something happens to them."""
RESTLESS_SESSION_SECONDS = 1_200.0
STEADY_SESSION_SECONDS = 64_800.0

ENDLESS_SECONDS = 1e9

_CHALLENGE_OCTETS = 16
_WRONG = b" (mistyped)"


class Proof(NamedTuple):
    """The credentials of one Access-Request."""

    attributes: bytes
    success: bytes | None
    """What the server must prove in return (MS-CHAP2-Success); None where the method asks nothing."""


class Attempt(NamedTuple):
    """A login on its way."""

    subscriber: Subscriber
    proof: Proof


class Subscriber:
    """A household with its box: off line, dialling or on line."""

    __slots__ = (
        "_behaviour",
        "_random",
        "_types_wrong",
        "demand",
        "description",
        "dialling",
        "failures",
        "habit",
        "line",
        "restless",
        "session",
    )

    def __init__(self, description: SubscriberDescription, line: Line, behaviour: Behaviour, random: Random) -> None:
        self.description = description
        self.line = line
        self.habit: Habit = choose_habit(random)
        wanted = description.demand_bits_per_second
        self.demand: Demand | None = None if wanted is None else download_demand(wanted)
        self.restless = random.random() < RESTLESS_SHARE
        self.session: Session | None = None
        self.dialling = False
        self.failures = 0
        self._behaviour = behaviour
        self._random = random
        mistyped = random.random() < behaviour.faults.wrong_passwords
        self._types_wrong = mistyped and self.demand is None

    def prove(self, secret: bytes, authenticator: bytes) -> Proof:
        """Return fresh credentials by the subscriber's method."""
        password = self.description.password.reveal() + (_WRONG if self._types_wrong else b"")
        if self.description.method is Method.PAP:
            return Proof(attribute(Type.USER_PASSWORD, pap.hide(password, secret, authenticator)), None)
        challenge = self._random.randbytes(_CHALLENGE_OCTETS)
        identifier = self._random.randrange(256)
        if self.description.method is Method.CHAP:
            response = bytes((identifier,)) + chap.response(identifier, challenge, password)
            return Proof(attribute(Type.CHAP_CHALLENGE, challenge) + attribute(Type.CHAP_PASSWORD, response), None)
        return self._prove_mschap(identifier, challenge, password)

    def believes(self, accept: Packet, proof: Proof) -> bool:
        """Tell whether the server proved that it knows the password, where the method asks it to (RFC 2759 §5)."""
        if proof.success is None:
            return True
        success = accept.vendor(Vendor.MICROSOFT, Microsoft.CHAP2_SUCCESS)
        return success is not None and compare_digest(success, proof.success)

    def session_seconds(self) -> float:
        """Return how long the next session lasts if nothing ends it; who downloads without a rest stays."""
        if self.demand is not None:
            return ENDLESS_SECONDS
        mean = self._behaviour.session_seconds
        if mean is None:
            mean = RESTLESS_SESSION_SECONDS if self.restless else STEADY_SESSION_SECONDS
        return self._random.expovariate(1 / mean)

    def think_seconds(self) -> float:
        """Return the pause before the next login after a session."""
        return self._random.expovariate(1 / max(self._behaviour.think_seconds, 1e-3))

    def come_back(self, now: Microseconds, *, refused: bool) -> Microseconds:
        """Note a failed login and return when the box dials again."""
        self.dialling = False
        self.failures += 1
        first = FIRST_RETRY_SECONDS if refused else SILENCE_RETRY_SECONDS
        wait = min(first * 2 ** min(self.failures - 1, 10), LONGEST_RETRY_SECONDS)
        return self._behaviour.after(now, wait * self._random.uniform(1 - RETRY_JITTER, 1 + RETRY_JITTER))

    def lose_power(self) -> None:
        """Forget session and login, as when the router reboots."""
        if self.session is not None:
            self.session.is_open = False
        self.session = None
        self.dialling = False
        self.failures = 0

    def _prove_mschap(self, identifier: int, challenge: bytes, password: bytes) -> Proof:
        name = self.description.login.encode()
        hashed = mschap.nt_hash(password)
        peer_challenge = self._random.randbytes(_CHALLENGE_OCTETS)
        response = mschap.response_v2(identifier, hashed, challenge, peer_challenge, name)
        nt_response = response[mschap.NT_RESPONSE_AT :]
        success = mschap.success_v2(mschap.hash_nt_hash(hashed), nt_response, peer_challenge, challenge, name)
        return Proof(
            vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP_CHALLENGE, challenge)
            + vendor_attribute(Vendor.MICROSOFT, Microsoft.CHAP2_RESPONSE, response),
            bytes((identifier,)) + success,
        )
