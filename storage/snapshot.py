"""The routers, pools and plans, the zone and the blocking of one configuration revision, as workers answer by them.

Rule: all of it is read by one statement, so a snapshot never mixes two revisions. A router is found by the packet's
source alone (RFC 2865 §3), the longest prefix first; NAS-Identifier only tells apart those that share an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from types import MappingProxyType
from typing import Any, NamedTuple

from config import plan_rules
from domain.network import (
    IPV4_BITS,
    IPV6_BITS,
    ApiAccess,
    MessageAuthenticatorPolicy,
    Plan,
    PlanId,
    Pool,
    PoolId,
    PoolKind,
    QueueKind,
    Router,
    RouterId,
)
from domain.plan_rules import Blocking
from domain.secret import Secret
from radius.codes import Type
from radius.packet import Packet
from storage.literals import integers, texts
from storage.pipeline import PipelineConnection
from storage.vault import Vault

MOST_HOSTS = 65_536
"""Source addresses whose router is remembered; a flood of forged sources empties the memory and fills it again."""

NO_BLOCKING = Blocking()

CHANNEL = "caudal_configuration"
"""Where PostgreSQL tells the workers that what they have is old."""
REVISION = "SELECT revision FROM configuration_revision"
POSITION = "SELECT revision, (SELECT count(*) FROM signer) FROM configuration_revision"
"""The revision, and how many sources have signed."""
SIGNERS = "SELECT router_id, host FROM signer"

SNAPSHOT = """
SELECT (SELECT revision FROM configuration_revision),
    (SELECT coalesce(json_agg(r), '[]') FROM (
        SELECT id, name, text(address) AS network, identifier, encode(secret, 'hex') AS secret, profile, coa_port,
            require_message_authenticator, flip_counters, api_user, encode(api_password, 'hex') AS api_password,
            api_port, api_tls, encode(api_fingerprint, 'hex') AS api_fingerprint, coa_per_second, repair_drift,
            api_accounting, queues
        FROM router ORDER BY id) AS r),
    (SELECT coalesce(json_agg(p), '[]') FROM (
        SELECT id, name, kind, host(first_address) AS first, host(last_address) AS last, prefix_length, router_ids,
            lease_seconds
        FROM pool ORDER BY id) AS p),
    (SELECT coalesce(json_agg(p), '[]') FROM (
        SELECT id, name, download_bits_per_second, upload_bits_per_second, pool_id, ipv6_pool_id, delegated_pool_id,
            session_timeout_seconds, idle_timeout_seconds, interim_seconds, simultaneous, rules
        FROM plan ORDER BY id) AS p),
    (SELECT timezone FROM isp),
    (SELECT blocking FROM isp)
"""


def save_signers(sources: Sequence[tuple[int, str]]) -> str:
    """Return the statements that keep sources (router id, host) which have signed, and tell the workers.

    A router that was forgotten meanwhile signs for nobody.
    """
    routers, hosts = integers([router_id for router_id, _ in sources]), texts([host for _, host in sources])
    return f"""INSERT INTO signer SELECT u.router_id, u.host
        FROM unnest({routers}::integer[], {hosts}::text[]) AS u(router_id, host)
        JOIN router ON router.id = u.router_id ON CONFLICT DO NOTHING; NOTIFY {CHANNEL}"""


class _Prefixes(NamedTuple):
    """The networks of one prefix length."""

    shift: int
    routers: dict[int, tuple[Router, ...]]


class Snapshot:
    """One revision; rooms above read `routers`, `pools` and `plans` by id.

    `timezone` names the zone of days and hours, `blocking` is what holds where a plan says nothing else.
    """

    def __init__(
        self,
        revision: int,
        routers: Iterable[Router],
        pools: Iterable[Pool],
        plans: Iterable[Plan],
        *,
        timezone: str = "UTC",
        blocking: Blocking = NO_BLOCKING,
    ) -> None:
        self.revision = revision
        self.timezone = timezone
        self.blocking = blocking
        self.routers: Mapping[int, Router] = MappingProxyType({router.id: router for router in routers})
        self.pools: Mapping[int, Pool] = MappingProxyType({pool.id: pool for pool in pools})
        self.plans: Mapping[int, Plan] = MappingProxyType({plan.id: plan for plan in plans})
        self._prefixes = _by_prefix(self.routers.values())
        self._hosts: dict[str, tuple[Router, ...]] = {}

    @classmethod
    def empty(cls) -> Snapshot:
        """Return the snapshot from before the first was read; no revision has its number."""
        return cls(-1, (), (), ())

    def routers_at(self, host: str) -> tuple[Router, ...]:
        """Return the routers that may send from `host`: those of the longest prefix that holds it."""
        found = self._hosts.get(host)
        if found is None:
            found = self._find(host)
            if found:
                if len(self._hosts) >= MOST_HOSTS:
                    self._hosts.clear()
                self._hosts[host] = found
        return found

    def choose(self, candidates: Iterable[Router], packet: Packet) -> Router | None:
        """Return the one whose identifier is the packet's NAS-Identifier, else the one without identifier."""
        told = packet.text(Type.NAS_IDENTIFIER)
        unnamed = None
        for router in candidates:
            if router.identifier is None:
                unnamed = router
            elif router.identifier == told:
                return router
        return unnamed

    def _find(self, host: str) -> tuple[Router, ...]:
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number = int(address)
        for prefixes in self._prefixes[address.version]:
            found = prefixes.routers.get(number >> prefixes.shift)
            if found:
                return found
        return ()


def _by_prefix(routers: Iterable[Router]) -> dict[int, list[_Prefixes]]:
    """Return the networks by IP version and prefix length, the longest first."""
    found: dict[tuple[int, int], dict[int, tuple[Router, ...]]] = {}
    for router in routers:
        network = ip_network(router.network)
        shift = (IPV4_BITS if network.version == 4 else IPV6_BITS) - network.prefixlen
        networks = found.setdefault((network.version, shift), {})
        key = int(network.network_address) >> shift
        networks[key] = (*networks.get(key, ()), router)
    return {
        version: [_Prefixes(shift, found[at, shift]) for at, shift in sorted(found) if at == version]
        for version in (4, 6)
    }


async def read(connection: PipelineConnection, vault: Vault) -> Snapshot:
    """Read the present revision; raise `DatabaseAway`, `VaultError` when a router's secret cannot be opened.

    Raise `StoredRulesError` where a plan's rules are not what was once applied.
    """
    revision, routers, pools, plans, timezone, blocking = (await connection.query(SNAPSHOT))[0]
    return Snapshot(
        revision,
        [_router(row, vault) for row in routers],
        [_pool(row) for row in pools],
        [_plan(row) for row in plans],
        timezone=timezone,
        blocking=plan_rules.load_blocking(blocking),
    )


def _router(row: dict[str, Any], vault: Vault) -> Router:
    name = row["name"]
    return Router(
        id=RouterId(row["id"]),
        name=name,
        network=row["network"],
        identifier=row["identifier"],
        secret=Secret(vault.open(bytes.fromhex(row["secret"]), b"router:" + name.encode())),
        profile=row["profile"],
        coa_port=row["coa_port"],
        require_message_authenticator=MessageAuthenticatorPolicy(row["require_message_authenticator"]),
        flip_counters=row["flip_counters"],
        api=_api(row, vault),
        coa_per_second=row["coa_per_second"],
        repair_drift=row["repair_drift"],
        api_accounting=row["api_accounting"],
        queues=QueueKind(row["queues"]),
    )


def _api(row: dict[str, Any], vault: Vault) -> ApiAccess | None:
    if row["api_user"] is None:
        return None
    sealed = row["api_password"]
    password = b"" if sealed is None else vault.open(bytes.fromhex(sealed), b"api:" + row["name"].encode())
    fingerprint = row["api_fingerprint"] and bytes.fromhex(row["api_fingerprint"])
    return ApiAccess(row["api_user"], Secret(password), row["api_port"], bool(row["api_tls"]), fingerprint)


def _pool(row: dict[str, Any]) -> Pool:
    return Pool(
        id=PoolId(row["id"]),
        name=row["name"],
        kind=PoolKind(row["kind"]),
        first=int(ip_address(row["first"])),
        last=int(ip_address(row["last"])),
        prefix_length=row["prefix_length"],
        router_ids=frozenset(row["router_ids"]),
        lease_seconds=row["lease_seconds"],
    )


def _plan(row: dict[str, Any]) -> Plan:
    return Plan(**{**row, "id": PlanId(row["id"]), "rules": plan_rules.load(row["rules"])})
