"""Describes a fleet: its routers, and who logs in through which of them.

Rule: a description is complete and the same at every run: what a file leaves open (method, MAC, router) follows from
the login and the seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from random import Random

from config.isp import Known, RouterEntry, ServiceEntry
from config.provisioning import parse, read
from domain.names import mac as mac_in
from domain.network import MessageAuthenticatorPolicy
from domain.secret import Secret
from enforcement.profiles import DYNAMIC_AUTHORIZATION_PORT, PROFILES
from simulator.errors import SimulatorError


class Method(Enum):
    """How a subscriber proves its password."""

    PAP = "pap"
    CHAP = "chap"
    MSCHAPV2 = "mschapv2"


@dataclass(frozen=True, slots=True)
class ApiDescription:
    """A router's management API: who may use it, and where it listens."""

    user: str
    password: Secret
    port: int
    tls: bool


API_PORT = 8728
API_TLS_PORT = 8729
"""RouterOS, `/ip service`."""
ROUTEROS = "mikrotik"
"""The profile of the routers that have the API."""
METHODS = (Method.PAP, Method.CHAP, Method.MSCHAPV2)
METHOD_WEIGHTS = (50, 20, 30)


@dataclass(frozen=True, slots=True)
class RouterDescription:
    """A router: where it sends from, what it calls itself, and how it speaks."""

    name: str
    address: str
    identifier: str
    secret: Secret
    profile: str = "mikrotik"
    coa_port: int = DYNAMIC_AUTHORIZATION_PORT
    signs_requests: bool = True
    """False: an old RouterOS, without Message-Authenticator in its Access-Requests."""
    flip_counters: bool = False
    """True: Acct-Input-Octets is what the subscriber downloads."""
    accepts_orders: bool = True
    """False: `/radius incoming accept=no`, as RouterOS comes: CoA and Disconnect are met with silence."""
    api: ApiDescription | None = None


@dataclass(frozen=True, slots=True)
class SubscriberDescription:
    """A line: its name, its proof, and the router it hangs on."""

    login: str
    password: Secret
    method: Method
    mac: str
    router: str
    """Name of the router."""
    demand_bits_per_second: int | None = None
    """What it downloads without a rest, as far as its line allows; None: it lives by habit."""


@dataclass(frozen=True, slots=True)
class FleetDescription:
    """Routers with distinct names, and subscribers that hang on them."""

    routers: Sequence[RouterDescription]
    subscribers: Sequence[SubscriberDescription]

    def __post_init__(self) -> None:
        names = {router.name for router in self.routers}
        if not names:
            raise SimulatorError("a fleet needs at least one router")
        if len(names) < len(self.routers):
            raise SimulatorError("two routers of the fleet have the same name; give each its own")
        for subscriber in self.subscribers:
            if subscriber.router not in names:
                raise SimulatorError(f"service {subscriber.login} names router {subscriber.router}, which is unknown")

    def with_demands(self, demands: Mapping[str, int]) -> FleetDescription:
        """Return the fleet in which some logins download without a rest, in bit/s."""
        unknown = demands.keys() - {subscriber.login for subscriber in self.subscribers}
        if unknown:
            raise SimulatorError(f"no service of the fleet is called {min(unknown)}; nobody can download as it")
        subscribers = [
            replace(subscriber, demand_bits_per_second=demands[subscriber.login])
            if subscriber.login in demands
            else subscriber
            for subscriber in self.subscribers
        ]
        return FleetDescription(self.routers, subscribers)

    def without_api(self) -> FleetDescription:
        """Return the fleet in which no router has an API."""
        return FleetDescription([replace(router, api=None) for router in self.routers], self.subscribers)


def read_isp(path: Path, *, subscribers: int | None = None, seed: int = 0) -> FleetDescription:
    """Describe the fleet of a provisioning file: its routers and (the first `subscribers` of) its services.

    Raise ProvisioningError for a file that `caudal apply` would refuse, SimulatorError for one that makes no fleet.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorError(f"{path} cannot be read: {error}") from None
    isp = parse(read(text, str(path)), Known(), _ignore_attribute)
    routers = [_router(entry) for entry in isp.routers]
    return FleetDescription(routers, [_subscriber(entry, routers, seed) for entry in isp.services[:subscribers]])


def synthetic(
    *,
    routers: int,
    subscribers: int,
    secret: Secret,
    first_address: str = "127.0.1.1",
    login_pattern: str = "user%d",
    password_pattern: str = "pass%d",  # noqa: S107 -- of made-up people
    coa_port: int = DYNAMIC_AUTHORIZATION_PORT,
    api: ApiDescription | None = None,
    seed: int = 0,
) -> FleetDescription:
    """Describe a fleet by numbers alone; subscribers are numbered from 1 and dealt out to the routers in turn."""
    try:
        address = IPv4Address(first_address)
        described = [
            RouterDescription(
                name=f"sim-router-{number + 1}",
                address=str(address + number),
                identifier=f"sim-router-{number + 1}",
                secret=secret,
                coa_port=coa_port,
                api=api,
            )
            for number in range(routers)
        ]
        people = [
            _described(
                login=login_pattern % number,
                password=Secret.from_text(password_pattern % number),
                router=described[(number - 1) % routers].name,
                mac=None,
                seed=seed,
            )
            for number in range(1, subscribers + 1)
        ]
    except (TypeError, ValueError) as error:
        raise SimulatorError(f"the fleet cannot be made up: {error}; patterns hold one %d") from None
    except ZeroDivisionError:
        raise SimulatorError("a fleet needs at least one router") from None
    return FleetDescription(described, people)


def _ignore_attribute(_name: str, _value: str) -> bytes:
    """Reply attributes are the server's affair."""
    return b""


def _router(entry: RouterEntry) -> RouterDescription:
    if entry.secret is None:
        raise SimulatorError(f"router {entry.name} has no secret in the file; a fleet cannot do without it")
    network = ip_network(entry.address)
    address = network.network_address if network.num_addresses == 1 else network.network_address + 1
    return RouterDescription(
        name=entry.name,
        address=str(address),
        identifier=entry.identifier or entry.name,
        secret=entry.secret,
        profile=entry.profile.value,
        coa_port=entry.coa_port or PROFILES[entry.profile.value].coa_port,
        signs_requests=entry.require_message_authenticator is not MessageAuthenticatorPolicy.NEVER,
        flip_counters=entry.flip_counters,
        api=_api(entry),
    )


def _api(entry: RouterEntry) -> ApiDescription | None:
    api = entry.api
    if api is None or entry.profile.value != ROUTEROS:
        return None
    if api.password is None:
        raise SimulatorError(
            f"the API of router {entry.name} has no password in the file; a fleet cannot do without it"
        )
    port = api.port or (API_TLS_PORT if api.tls else API_PORT)
    return ApiDescription(api.user, api.password, port, api.tls)


def _subscriber(entry: ServiceEntry, routers: Sequence[RouterDescription], seed: int) -> SubscriberDescription:
    if entry.password is None:
        raise SimulatorError(f"service {entry.login} has no password in the file; a fleet cannot do without it")
    return _described(
        login=entry.login,
        password=entry.password,
        router=Random(f"{seed} router {entry.login}").choice(entry.routers or [known.name for known in routers]),
        mac=entry.macs[0] if entry.macs else None,
        seed=seed,
    )


def _described(*, login: str, password: Secret, router: str, mac: str | None, seed: int) -> SubscriberDescription:
    """Fill in what the source leaves open. Without a password the MAC is the name, as DHCP servers ask (PAP only)."""
    random = Random(f"{seed} {login}")
    method = random.choices(METHODS, METHOD_WEIGHTS)[0]
    return SubscriberDescription(
        login=login,
        password=password,
        method=method if password.reveal() else Method.PAP,
        mac=mac or mac_in(login) or _made_up_mac(random),
        router=router,
    )


def _made_up_mac(random: Random) -> str:
    """Return a locally administered address (IEEE 802: second-lowest bit of the first octet)."""
    return bytes((0x02, *random.randbytes(5))).hex(":").upper()
