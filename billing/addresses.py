"""Addresses as documents print them: where bills go, and where the service is when that is another place.

Rule: an address of the service is whole by itself; only its country is the customer's where it says none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ADDRESS = ("street", "postcode", "city", "region", "country")


def town(who: Mapping[str, Any]) -> str:
    """Return postcode, city and country of an address, in a line."""
    place = " ".join(str(who[key]) for key in ("postcode", "city") if who.get(key))
    return ", ".join(part for part in (place, str(who.get("country") or "")) if part)


def service_address(buyer: Mapping[str, Any]) -> dict[str, str]:
    """Return where the services of a buyer are; empty where that is where the bills go, or nobody has said."""
    said = {key: str(buyer[f"service_{key}"]) for key in ADDRESS if buyer.get(f"service_{key}")}
    if not said:
        return {}
    billing = {key: str(buyer[key]) for key in ADDRESS if buyer.get(key)}
    if "country" in billing:
        said.setdefault("country", billing["country"])
    return {} if said == billing else said


def in_a_line(address: Mapping[str, str]) -> str:
    """Return an address on one line."""
    return ", ".join(part for part in (address.get("street"), town(address)) if part)
