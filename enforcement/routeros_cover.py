"""Which addresses a router's own, dynamic queues already limit.

Rule: a queue of RADIUS or DHCP names its line by address, or by the interface `<pppoe-LOGIN>`, whose address stands in
`/ppp/active`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from enforcement import routeros_values as values
from enforcement.routeros_entries import Row


class Cover:
    """A set of addresses that can be asked whether it touches a network."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        every = list(networks)
        self._ranges = {
            4: _ranges(collapse_addresses(each for each in every if isinstance(each, IPv4Network))),
            6: _ranges(collapse_addresses(each for each in every if isinstance(each, IPv6Network))),
        }

    def touches(self, target: str) -> bool:
        """Tell whether an address of `target` is in the set."""
        network = values.network_of(target)
        ranges = [] if network is None else self._ranges[network.version]
        if network is None or not ranges:
            return False
        first, last = int(network.network_address), int(network.broadcast_address)
        at = bisect_right(ranges, (last, last))
        if at < len(ranges) and ranges[at][0] <= last:
            return True
        return at > 0 and ranges[at - 1][1] >= first


def _ranges(networks: Iterable[IPv4Network | IPv6Network]) -> list[tuple[int, int]]:
    """Return (first, last) of networks that do not overlap, ascending."""
    return sorted((int(each.network_address), int(each.broadcast_address)) for each in networks)


def dynamic_cover(queues: Iterable[Row], ppp: Sequence[Row]) -> Cover:
    """Return the addresses that dynamic queues limit."""
    interfaces = {f"<{row.get('service', '')}-{row.get('name', '')}>": row.get("address", "") for row in ppp}
    found = []
    for row in queues:
        if values.flag(row.get("dynamic", "")):
            for word in (*row.get("target", "").split(","), row.get("name", "")):
                network = values.network_of(interfaces.get(word, word))
                if network is not None:
                    found.append(network)
    return Cover(found)
