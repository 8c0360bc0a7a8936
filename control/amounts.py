"""Amounts as orders write them."""

from __future__ import annotations

from decimal import Decimal

from billing.exchange import Foreign
from control.billing_models import PaymentOrder
from control.errors import bad_request
from domain.money import decimal_text, minor_units


def minor(text: str, currency: str) -> int:
    """Return an amount that was written, in minor units; refuse one that has more decimals than its currency."""
    exact = minor_units(Decimal(text), currency)
    if exact.denominator != 1:
        raise bad_request(f"{text} has more decimals than {currency}", "round it")
    return exact.numerator


def came_in(order: PaymentOrder, currency: str) -> tuple[int, Foreign | None]:
    """Return what a payment is worth to an account in `currency`, and what came in if that is another currency."""
    given = order.currency or currency
    came = Foreign(minor(order.amount, given), given)
    return worth_of(came, currency, order.rate, order.worth), None if given == currency else came


def worth_of(came: Foreign, currency: str, rate: str | None, worth: str | None) -> int:
    """Return what came in as minor units of an account in `currency`, by what one unit or all of it is worth."""
    if came.currency == currency:
        if rate is not None or worth is not None:
            raise bad_request(f"the account is in {currency} itself", "leave the rate and the worth out")
        found = came.amount
    elif (rate is None) == (worth is None):
        shown = f"{decimal_text(*came)} {came.currency}"
        raise bad_request(f"the account is in {currency}: say what {shown} are worth", "give either --rate or --worth")
    else:
        found = came.worth(Decimal(rate), currency) if rate is not None else minor(worth or "0", currency)
    if came.amount <= 0 or found <= 0:
        raise bad_request("the amount of a payment is more than nothing", "see `caudal payment refund`")
    return found
