"""Decides which addresses or prefixes a pool hands out.

Rule: a range is taken literally, from its first to its last address, and consists of whole leases of `prefix_length`.
"""

from __future__ import annotations

from ipaddress import summarize_address_range
from itertools import islice

from config.checks import Address, parse_address, parse_network, show
from config.problems import Mistake
from domain.network import IPV4_BITS, IPV6_BITS, PoolKind

# RFC 4291 section 2.5.4: the prefix of one link; RIPE-690: what a household gets delegated.
USUAL_LENGTHS = {PoolKind.IPV4: IPV4_BITS, PoolKind.IPV6_PREFIX: 64, PoolKind.DELEGATED_PREFIX: 56}
# A lease is numbered by PostgreSQL's bigint.
MOST_LEASES = 2**62


def parse_range(value: object, kind: PoolKind, prefix_length: int) -> tuple[Address, Address]:
    """Return the first and last address of a CIDR block or of `first-last`; the last lease counts whole."""
    first, last = _ends(value)
    bits = IPV4_BITS if kind is PoolKind.IPV4 else IPV6_BITS
    if first.max_prefixlen != bits:
        raise Mistake(f"must be {'IPv4' if kind is PoolKind.IPV4 else 'IPv6'} in a pool of kind {show(kind.value)}")
    stride = 1 << (bits - prefix_length)
    if int(first) % stride:
        raise Mistake(f"must begin where a prefix of length {prefix_length} begins, which {first} does not")
    if int(last) % stride == 0:
        last += stride - 1
    if (int(last) + 1) % stride:
        raise Mistake(f"must end where a prefix of length {prefix_length} ends, which {last} does not")
    if (int(last) - int(first) + 1) // stride > MOST_LEASES:
        raise Mistake(f"holds too many prefixes of length {prefix_length}; choose a smaller range")
    return first, last


def write_range(first: Address, last: Address) -> str:
    """Return a range as a file has it: a CIDR block where it is one."""
    blocks = list(islice(summarize_address_range(first, last), 2))
    return str(blocks[0]) if len(blocks) == 1 else f"{first}-{last}"


def _ends(value: object) -> tuple[Address, Address]:
    if isinstance(value, str) and "-" not in value:
        block = parse_network(value)
        return block.network_address, block.broadcast_address
    ends = value.split("-") if isinstance(value, str) else []
    try:
        first, last = (parse_address(end.strip()) for end in ends)
    except ValueError:
        raise Mistake(
            f'must be a range such as "100.64.0.0/16" or "100.64.0.10-100.64.0.99", not {show(value)}'
        ) from None
    if first.version != last.version or int(first) > int(last):
        raise Mistake(f"must lead from a lower to a higher address of one kind, which {show(value)} does not")
    return first, last
