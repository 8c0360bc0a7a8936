"""A request that passed the checks of the listener and waits for its batch.

Rule: each request is answered at most once, or given up; either way its entry in the duplicate cache learns of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from daemon.drops import Drop
from domain.instants import Microseconds
from domain.network import Router
from radius.codes import Code
from radius.packet import Packet, encode_reply

if TYPE_CHECKING:
    from daemon.listener import Listener


class Peer(NamedTuple):
    """Where a datagram came from and which of our addresses it hit (None where the socket has only one)."""

    address: tuple[str, int]
    local: bytes | None


class Request:
    """A verified request of a known router."""

    __slots__ = ("_listener", "arrived_us", "is_settled", "packet", "peer", "router")

    def __init__(
        self, packet: Packet, router: Router, arrived_us: Microseconds, peer: Peer, listener: Listener
    ) -> None:
        self.packet = packet
        self.router = router
        self.arrived_us = arrived_us
        self.peer = peer
        self.is_settled = False
        self._listener = listener

    def answer(self, code: int, attributes: bytes) -> None:
        """Sign and send the answer with the batch, and keep it for duplicates."""
        reply = encode_reply(code, self.packet, attributes, self.router.secret.reveal())
        self.is_settled = True
        self._listener.send_answer(self, code, reply)

    def give_up(self, reason: Drop) -> None:
        """Stay silent: the router retransmits, and that retransmission is processed afresh."""
        self.is_settled = True
        self._listener.forget(self, reason)


class AccessRequest(Request):
    """An Access-Request."""

    __slots__ = ()

    def refuse(self, attributes: bytes, delay_seconds: float) -> None:
        """Send an Access-Reject after `delay_seconds`; duplicates meanwhile are dropped."""
        reply = encode_reply(Code.ACCESS_REJECT, self.packet, attributes, self.router.secret.reveal())
        self.is_settled = True
        self._listener.send_later(self, reply, delay_seconds)


class AccountingRequest(Request):
    """An Accounting-Request."""

    __slots__ = ()

    def acknowledge(self) -> None:
        """Send the Accounting-Response: what the request said is committed."""
        self.answer(Code.ACCOUNTING_RESPONSE, b"")
