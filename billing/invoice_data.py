"""Writes an invoice or credit note as data: EN 16931, as CII in the form of Factur-X.

Rule: pure; what is written is what the document holds. EN 16931 knows one tax for each line and one sum for each
category and rate; whatever it cannot say is refused with the reason, never bent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from billing.addresses import service_address
from billing.printed import CannotPrint, Printed, sign, whole_lines
from domain.money import decimal_text

UNTAXED = ("Z", "0", None)
"""Category, rate and reason of a line that has no tax."""
OUTSIDE = "O"
"""Not subject to tax: has no rate, stands beside nothing else, and names no tax ids (BR-O-02, BR-O-05, BR-O-11)."""
INTRA_COMMUNITY = "K"
NEEDS_BUYER = ("AE", INTRA_COMMUNITY)
"""Categories of which the buyer owes the tax and is known by its tax id (BR-AE-02, BR-IC-02)."""

_Money = Callable[[int], str]


def xml(document: Printed) -> bytes:
    """Return an invoice or credit note as data, checked against its schema. Raise CannotPrint."""
    from facturx import generate_cii_xml

    head = document.head
    why = why_no_data(document)
    if why is not None:
        raise CannotPrint(f"document {head['number'] or head['id']} cannot be told as data: {why}")
    try:
        found = generate_cii_xml(_data(document), level="en16931", check_xsd=True, check_schematron=False)
    except Exception as error:
        raise CannotPrint(f"document {head['number']} does not fit EN 16931: {error}") from error
    return found[0] if isinstance(found, tuple) else bytes(found)


def why_no_data(document: Printed) -> str | None:
    """Return why EN 16931 cannot say what a document says; None: it can."""
    head = document.head
    if head["kind"] not in ("invoice", "credit-note") or head["number"] is None:
        return "it is no invoice with a number"
    if any(len(line["taxes"]) > 1 for line in document.lines):
        return "a line has several taxes, and EN 16931 knows one"
    categories = {category for category, _, _ in map(_rate, document.lines)}
    if OUTSIDE in categories and len(categories) > 1:
        return "lines outside the scope of tax stand beside others"
    seller, buyer = document.frozen.get("seller", {}), document.frozen.get("buyer", {})
    if not seller.get("tax_id"):
        return "its seller has no tax_id"
    if not categories.isdisjoint(NEEDS_BUYER) and not buyer.get("tax_id"):
        return "the customer owes the tax and has no tax_id"
    return None


def _data(document: Printed) -> dict[str, object]:
    """Return the terms of EN 16931 by their numbers."""
    head, currency = document.head, document.head["currency"]
    seller, buyer = document.frozen.get("seller", {}), document.frozen.get("buyer", {})
    categories = {category for category, _, _ in map(_rate, document.lines)}
    names = {"is_outside": OUTSIDE in categories}

    def money(minor: int) -> str:
        return decimal_text(minor, currency)

    paid = head["gross"] - head["open_amount"] if head["kind"] == "invoice" else 0
    data: dict[str, object] = {
        "BT-1": head["number"], "BT-2": head["issued_on"], "BT-3": "380" if head["kind"] == "invoice" else "381",
        "BT-5": currency, "BT-72": head["dated"], "BG-4": _trader(seller, "Caudal", **names),
        "BG-7": _trader(buyer, buyer.get("login", ""), is_buyer=True, **names),
        "BG-23": _sums(document, money),
        "BG-25": [_line(document, line, place, money) for place, line in enumerate(whole_lines(document), 1)],
        "BT-106": money(head["net"]), "BT-109": money(head["net"]), "BT-110": money(head["tax"]),
        "BT-112": money(head["gross"]), "BT-115": money(head["gross"] - paid),
        "BG-3": [{"BT-25": number} for number in document.corrects],
    }  # fmt: skip
    if head["due_on"] is not None:
        data["BT-9"] = head["due_on"]
    else:
        data["BT-20"] = "-"
    if paid:
        data["BT-113"] = money(paid)
    where = service_address(buyer) or (buyer if INTRA_COMMUNITY in categories else {})
    if where:
        data["BG-13"] = _address(where, str(buyer.get("name") or buyer.get("login", "")))
    if seller.get("iban"):
        data |= {"BT-81": "30", "BT-84": seller["iban"]}
    return data


def _rate(line: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return the category, the rate and the reason of a line."""
    if not line["taxes"]:
        return UNTAXED
    _, category, percent, _, reason, *_ = line["taxes"][0]
    # A standard rate is above nothing (BR-S-05).
    return ("Z" if category == "S" and not Decimal(percent) else category), percent, reason


def _sums(document: Printed, money: _Money) -> list[dict[str, object]]:
    """Return what each category and rate sums to: each once (BR-S-08 and its like)."""
    bases: dict[tuple[str, Decimal], int] = {}
    taxes: dict[tuple[str, Decimal], int] = {}
    reasons: dict[tuple[str, Decimal], dict[str, None]] = {}
    for line in document.lines:
        category, percent, reason = _rate(line)
        key = category, Decimal(percent)
        bases[key] = bases.get(key, 0) + sign(document.head) * line["net"]
        reasons.setdefault(key, {}).update({} if reason is None else {reason: None})
    for _, category, percent, _, tax, _ in document.frozen.get("taxes", ()):
        key = ("Z" if category == "S" and not Decimal(percent) else category), Decimal(percent)
        taxes[key] = taxes.get(key, 0) + tax
    return [
        {
            "BT-116": money(base), "BT-117": money(taxes.get((category, percent), 0)), "BT-118": category,
            **({} if category == OUTSIDE else {"BT-119": _percent(percent)}),
            **({"BT-120": "; ".join(reasons[category, percent])} if reasons[category, percent] else {}),
        }
        for (category, percent), base in bases.items()
    ]  # fmt: skip


def _line(document: Printed, line: Mapping[str, Any], place: int, money: _Money) -> dict[str, object]:
    net = sign(document.head) * line["net"]
    category, percent, _ = _rate(line)
    # A price is never negative there; what is taken off is a negative quantity of it.
    return {
        "BT-126": str(place), "BT-129": "1" if net >= 0 else "-1", "BT-130": "C62", "BT-131": money(net),
        "BT-146": money(abs(net)), "BT-151": category, "BT-153": line["text"],
        **({} if category == OUTSIDE else {"BT-152": _percent(Decimal(percent))}),
    }  # fmt: skip


def _percent(percent: Decimal) -> str:
    return f"{percent:.2f}"


def _trader(who: Mapping[str, Any], name: str, *, is_outside: bool, is_buyer: bool = False) -> dict[str, object]:
    """Return a party: by its VAT id, which begins with its country (BR-CO-09), where it can have one."""
    found, told = _address(who, name), str(who.get("tax_id") or "")
    legal = str(who.get("company_id") or "")
    vat = "" if is_outside else _vat_id(told, str(who.get("country") or "ES"))
    if vat:
        found["vat_identifier"] = vat
    elif is_outside or is_buyer:
        legal = legal or told
    else:
        found["tax_identifier"] = told
    return found | ({"legal_identifier": legal} if legal else {})


def _vat_id(told: str, country: str) -> str:
    """Return a tax id with its country before it; empty where it is written as no VAT id is."""
    prefix = "EL" if country == "GR" else country
    plain = "".join(sign for sign in told.upper() if sign not in " .-")
    if not plain.isalnum():
        return ""
    return plain if plain.startswith(prefix) else prefix + plain


def _address(who: Mapping[str, Any], name: str) -> dict[str, object]:
    told = (
        ("addr_l1", who.get("street")), ("postcode", who.get("postcode")), ("city", who.get("city")),
        ("country_code", who.get("country") or "ES"),
    )  # fmt: skip
    return {"name": str(who.get("name") or name), **{key: str(value) for key, value in told if value}}
