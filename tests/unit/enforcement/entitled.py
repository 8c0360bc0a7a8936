"""Entitlements for tests: what a line may do, as differences from an unlimited one."""

from __future__ import annotations

from typing import Any

from domain.plan_rules import WalledGarden
from enforcement.attributes import Part, split
from enforcement.entitlement import Entitlement
from enforcement.reply import of_garden
from radius.packet import vendor_values

UNLIMITED = of_garden(WalledGarden())._replace(walled=False)


def entitled(download: int | None = None, upload: int | None = None, **more: Any) -> Entitlement:
    """Return an entitlement of these rates in bit/s."""
    return UNLIMITED._replace(download=download, upload=upload, **more)


def read(octets: bytes) -> list[tuple[int, int, bytes]]:
    """Return (vendor, type, value) of encoded attributes; vendor 0 for a standard one."""
    found: list[tuple[int, int, bytes]] = []
    for number, value in split(octets):
        found += vendor_values(value) if number == 26 else [(0, number, value)]
    return found


def read_parts(parts: list[Part]) -> list[tuple[int, int, bytes]]:
    """Return the same of parts."""
    return read(b"".join(octets for _, octets in parts))
