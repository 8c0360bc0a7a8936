"""Whether a login that proved its password may pass, and how a refused one is told.

Rule: every refusal has one reason of a closed set. The subscriber never learns whether the name or the password was
wrong; what else is wrong is told only to who knows the password. A limit counts lines, not packets: a line that comes
back takes its own place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from types import MappingProxyType

from domain.instants import Microseconds
from domain.names import mac
from enforcement.entitlement import Refusal
from radius.codes import Type
from radius.packet import Packet, attribute, readable

CONFIRM_SECONDS = 60
"""How long an Access-Accept holds its place until the Start: RouterOS has sent it three times after 4 s."""


class RefusalReason(Enum):
    """Why a login was refused; the value is stored and shown."""

    UNKNOWN_USER = "unknown_user"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a reason, not a password
    DISABLED = "disabled"
    EXPIRED = "expired"
    WRONG_ROUTER = "wrong_router"
    WRONG_MAC = "wrong_mac"
    TOO_MANY_SESSIONS = "too_many_sessions"
    POOL_EXHAUSTED = "pool_exhausted"
    BAD_REQUEST = "bad_request"
    UNSUPPORTED_METHOD = "unsupported_method"
    REPLY_TOO_LONG = "reply_too_long"
    BLOCKED = "blocked"
    NO_BALANCE = "no_balance"
    CAP_REACHED = "cap_reached"
    OUTSIDE_HOURS = "outside_hours"


def _message(text: str) -> bytes:
    return attribute(Type.REPLY_MESSAGE, text.encode())


REPLY_MESSAGES: Mapping[RefusalReason, bytes] = MappingProxyType(
    {
        RefusalReason.UNKNOWN_USER: _message("Login incorrect"),
        RefusalReason.WRONG_PASSWORD: _message("Login incorrect"),
        RefusalReason.DISABLED: _message("Service suspended"),
        RefusalReason.EXPIRED: _message("Service expired"),
        RefusalReason.WRONG_ROUTER: _message("Not available at this location"),
        RefusalReason.WRONG_MAC: _message("Not available on this device"),
        RefusalReason.TOO_MANY_SESSIONS: _message("Too many sessions"),
        RefusalReason.POOL_EXHAUSTED: _message("No address available, try again later"),
        RefusalReason.BAD_REQUEST: _message("Request not understood"),
        RefusalReason.UNSUPPORTED_METHOD: _message("Authentication method not supported"),
        RefusalReason.REPLY_TOO_LONG: _message("Service misconfigured"),
        RefusalReason.BLOCKED: _message("Account blocked"),
        RefusalReason.NO_BALANCE: _message("No balance left"),
        RefusalReason.CAP_REACHED: _message("Data allowance used up"),
        RefusalReason.OUTSIDE_HOURS: _message("Not available at this hour"),
    }
)
"""The Reply-Message of each, encoded."""

REASONS: Mapping[Refusal, RefusalReason] = MappingProxyType(
    {
        Refusal.BLOCKED: RefusalReason.BLOCKED,
        Refusal.NO_BALANCE: RefusalReason.NO_BALANCE,
        Refusal.CAP: RefusalReason.CAP_REACHED,
        Refusal.FUP: RefusalReason.CAP_REACHED,
        Refusal.HOURS: RefusalReason.OUTSIDE_HOURS,
        Refusal.DISABLED: RefusalReason.DISABLED,
        Refusal.EXPIRED: RefusalReason.EXPIRED,
    }
)
"""Why a login is refused whose line may not be used; fair use is an allowance to the subscriber, too."""


def objection(
    *,
    enabled: bool,
    expires_us: int | None,
    router_ids: Collection[int] | None,
    macs: Collection[str] | None,
    router_id: int,
    client_mac: str | None,
    now_us: Microseconds,
) -> RefusalReason | None:
    """Return what speaks against a service whose password was proved; None for no restriction."""
    if not enabled:
        return RefusalReason.DISABLED
    if expires_us is not None and expires_us <= now_us:
        return RefusalReason.EXPIRED
    if router_ids and router_id not in router_ids:
        return RefusalReason.WRONG_ROUTER
    if macs and client_mac not in macs:
        return RefusalReason.WRONG_MAC
    return None


def calling_mac(packet: Packet) -> str | None:
    """Return the MAC in Calling-Station-Id, None when it holds something else (an IP address, a telephone number)."""
    station = packet.get(Type.CALLING_STATION_ID)
    return None if station is None else mac(readable(station).strip())


def client_key(packet: Packet, router_id: int, client_mac: str | None, port_attributes: tuple[int, ...]) -> str | None:
    """Return what tells the lines of one service apart: the MAC, else router and port; None when nothing does.

    The same expression over a session row is `coalesce(mac, router_id || '/' || nas_port_id)`.
    """
    if client_mac is not None:
        return client_mac
    for kind in port_attributes:
        if kind == Type.NAS_PORT:
            number = packet.integer(kind)
            port = None if number is None else str(number)
        else:
            port = packet.text(kind)
        if port:
            return f"{router_id}/{port}"
    return None


class Seats:
    """Who occupies the sessions that one service may have at once."""

    __slots__ = ("_admitted", "_bundles", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bundles: dict[str, set[str | None]] = {}
        self._admitted: set[str] = set()

    def occupy(self, bundle: str, client: str | None) -> None:
        """Count an open session; sessions of one multilink bundle are one (RFC 2866 §5.11)."""
        self._bundles.setdefault(bundle, set()).add(client)

    def expect(self, client: str) -> None:
        """Count an Access-Accept whose Start has not come yet."""
        self._admitted.add(client)

    def take(self, client: str, bundle: str | None = None) -> bool:
        """Admit `client` when the others leave it a place; its own stale session and earlier accept do not count."""
        others = sum(1 for name, clients in self._bundles.items() if client not in clients and name != bundle)
        started = {name for clients in self._bundles.values() for name in clients}
        others += len(self._admitted - started - {client})
        if others >= self._limit:
            return False
        self._admitted.add(client)
        return True
