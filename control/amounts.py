"""Amounts as orders write them."""

from __future__ import annotations

from decimal import Decimal

from billing.exchange import Foreign
from control.billing_models import PaymentOrder
from control.errors import bad_request
from domain.money import minor_units


def minor(text: str, currency: str) -> int:
    """Return an amount that was written, in minor units; refuse one that has more decimals than its currency."""
    exact = minor_units(Decimal(text), currency)
    if exact.denominator != 1:
        raise bad_request(f"{text} has more decimals than {currency}", "round it")
    return exact.numerator


def came_in(order: PaymentOrder, currency: str) -> tuple[int, Foreign | None]:
    """Return what a payment is worth to an account in `currency`, and what came in if that is another currency."""
    given = order.currency or currency
    written = minor(order.amount, given)
    foreign = None if given == currency else Foreign(written, given)
    if foreign is None:
        if order.rate is not None or order.worth is not None:
            raise bad_request(f"the account is in {currency} itself", "leave the rate and the worth out")
        worth = written
    elif (order.rate is None) == (order.worth is None):
        raise bad_request(
            f"the account is in {currency}: say what {order.amount} {given} are worth", "give either --rate or --worth"
        )
    elif order.worth is not None:
        worth = minor(order.worth, currency)
    else:
        worth = foreign.worth(Decimal(order.rate or 0), currency)
    if written <= 0 or worth <= 0:
        raise bad_request("the amount of a payment is more than nothing", "see `caudal payment refund`")
    return worth, foreign
