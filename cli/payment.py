"""`caudal payment` and `caudal account`: what came in, how an account stands, and what an operator orders about it.

Rule: an order carries a key of its own, so one that is sent twice is done once.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import click

from cli.client import ControlClient, Item, segment
from cli.command import Command, Group
from cli.line import operator
from cli.money import AMOUNT, DAY, RATE, amount, shown
from cli.names import customer_argument, customer_option
from cli.options import Paging, data_directory, json_option, paging_options
from cli.tables import Column, show_listing, text, write_details, write_json

PAYMENT_COLUMNS = (
    text("ID", "id"),
    text("CUSTOMER", "customer"),
    text("DATE", "received_on"),
    text("METHOD", "method", spare=1),
    amount("AMOUNT", "amount"),
    Column("CAME AS", lambda item, _now: _came_as(item), number=True, spare=4),
    amount("UNUSED", "unused", spare=2),
    amount("REFUNDED", "refunded", spare=3),
    text("RECEIPT", "receipt"),
)


@click.group("payment", cls=Group, example="caudal payment add ana.garcia 30.13")
def payment() -> None:
    """Book, give back and show payments."""


@payment.command("add", example="caudal payment add ana.garcia 30.13 --method transfer --reference 'invoice 17'")
@customer_argument
@click.argument("amount", type=AMOUNT)
@click.option(
    "--method", default="cash", show_default=True, metavar="NAME", help="How it came in: cash, card, transfer."
)
@click.option("--reference", default="", metavar="TEXT", help="What the payer wrote.")
@click.option("--invoice", "invoices", multiple=True, metavar="NUMBER", help="Pay this one first; may be repeated.")
@click.option("--currency", metavar="CODE", help="What AMOUNT is in.  [default: the account's currency]")
@click.option("--rate", type=RATE, help="What one unit of that currency is worth in the account's.")
@click.option("--worth", type=AMOUNT, help="Instead of --rate: what AMOUNT is worth in the account's currency.")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one payment.  [default: a new one]")
@json_option
def add(
    customer: str,
    amount: str,
    method: str,
    reference: str,
    invoices: tuple[str, ...],
    key: str | None,
    currency: str | None,
    rate: str | None,
    worth: str | None,
    as_json: bool,
) -> None:
    """Book a payment: it pays what is open, the oldest first, and lets a line in again at once."""
    order = {
        "customer": customer,
        "amount": amount,
        "method": method,
        "reference": reference,
        "invoices": [*invoices],
        "key": key or uuid.uuid4().hex,
        "made_by": operator(),
        "currency": None if currency is None else currency.upper(),
        "rate": rate,
        "worth": worth,
    }
    answer = ControlClient(data_directory()).post_json("/v1/payments", order)
    if as_json:
        write_json(answer)
        return
    before = "was booked before: " if answer["again"] else ""
    came = f", came as {_came_as(answer)}" if answer["foreign_amount"] is not None else ""
    booked = shown(answer["amount"], answer["currency"])
    click.echo(f"{before}receipt {answer['receipt']}: {booked} of {customer}{came}")
    for paid in answer["paid"]:
        click.echo(f"  pays {paid}")
    if answer["unused"].strip("0."):
        click.echo(f"  {shown(answer['unused'], answer['currency'])} wait for the next invoice")


@payment.command("list", example="caudal payment list --customer ana.garcia")
@customer_option
@paging_options
def list_payments(customer: str | None, paging: Paging) -> None:
    """List payments, the newest first."""
    show_listing("/v1/payments", {"customer": customer}, PAYMENT_COLUMNS, paging, datetime.now(UTC))


@payment.command("refund", example="caudal payment refund 17 --amount 5.00")
@click.argument("number", type=click.IntRange(1), metavar="ID")
@click.option("--amount", type=AMOUNT, help="So much.  [default: all that is left]")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one refund.  [default: a new one]")
def refund(number: int, amount: str | None, key: str | None) -> None:
    """Give back a payment, or a part of it."""
    _give_back(number, amount, key, reversal=False)


@payment.command("reverse", example="caudal payment reverse 17")
@click.argument("number", type=click.IntRange(1), metavar="ID")
@click.option("--key", metavar="TEXT", help="Two orders with one key are one reversal.  [default: a new one]")
def reverse(number: int, key: str | None) -> None:
    """Take back a payment that never came: a cheque that bounced, a card that was charged back."""
    _give_back(number, None, key, reversal=True)


def _came_as(item: Item) -> str:
    """Return what came in, where that was another currency."""
    return "" if item["foreign_amount"] is None else shown(item["foreign_amount"], item["foreign_currency"])


def _give_back(number: int, amount: str | None, key: str | None, *, reversal: bool) -> None:
    order = {"amount": amount, "key": key or uuid.uuid4().hex, "reversal": reversal}
    answer = ControlClient(data_directory()).post_json(f"/v1/payments/{number}/refund", order)
    word = "reversed" if reversal else "gave back"
    click.echo(f"payment {number}: {word} {shown(answer['amount'], answer['currency'])}")


@click.group("account", cls=Group, example="caudal account show ana.garcia")
def account() -> None:
    """Show how a customer's account stands, and give orders about it."""


@account.command("show", example="caudal account show ana.garcia")
@customer_argument
@json_option
def show(customer: str, as_json: bool) -> None:
    """Show what a customer owes or has in the wallet, and for how many days that lasts."""
    item = ControlClient(data_directory()).get(f"/v1/customer-accounts/{segment(customer)}")
    if as_json:
        write_json(item)
        return
    currency = item["currency"]
    is_prepaid = item["days_left"] is not None
    write_details(
        (
            ("account", item["customer"]),
            ("pays for", ", ".join(item["pays_for"])),
            ("billing", item["billing"]),
            ("state", item["state"]),
            ("wallet" if is_prepaid else "owed", shown(item["wallet" if is_prepaid else "owed"], currency)),
            ("reserved", shown(item["reserved"], currency) if item["reserved"].strip("0.") else ""),
            ("to be paid", shown(item["missing"], currency) if (item["missing"] or "").strip("0.") else ""),
            ("days left", str(item["days_left"]) if is_prepaid else ""),
            ("billed next", item["next_bill_on"] or ""),
            ("parked", item["parked"] or ""),
        )
    )


@account.command("promise", example="caudal account promise ana.garcia 2027-02-20")
@customer_argument
@click.argument("until", type=DAY, required=False)
@click.option("--withdraw", is_flag=True, help="Nothing is promised any more.")
def promise(customer: str, until: str | None, withdraw: bool) -> None:
    """Cut nothing through a day on which a customer promised to pay; it stands in place of a promise before."""
    if withdraw == (until is not None):
        raise click.UsageError("Give the day on which is paid, or --withdraw.")
    _order("promises", customer, {"until": until, "made_by": operator()})


@account.command("pause", example="caudal account pause ana.garcia --from 2027-08-01 --to 2027-09-01")
@customer_argument
@click.option("--from", "starts", type=DAY, required=True, help="The first day that is not charged.")
@click.option("--to", "ends", type=DAY, help="The first day that is charged again.  [default: until further notice]")
def pause(customer: str, starts: str, ends: str | None) -> None:
    """Let lines rest for some days (vacation), uncharged; what was charged for them is credited by the next run."""
    _order("rests", customer, {"starts": starts, "ends": ends})


@account.command("resume", example="caudal account resume ana.garcia")
@customer_argument
@click.option("--on", type=DAY, help="The first day that is charged again.  [default: today]")
def resume(customer: str, on: str | None) -> None:
    """End a pause, and take back those that would begin later."""
    _order("rest-ends", customer, {"on": on})


@account.command("deactivate", example="caudal account deactivate ana.garcia")
@customer_argument
def deactivate(customer: str) -> None:
    """Give a customer up from today: neither billed nor let in, and no day of it is charged later."""
    _order("account-states", customer, {"active": False})


@account.command("activate", example="caudal account activate ana.garcia")
@customer_argument
def activate(customer: str) -> None:
    """Take a customer back that was given up; billing goes on from today."""
    _order("account-states", customer, {"active": True})


@account.command("trust", example="caudal account trust ana.garcia")
@customer_argument
def trust(customer: str) -> None:
    """Let a cut line in for some days on trust, as the account's terms allow."""
    _order("trust-unlocks", customer, {"made_by": operator()})


def _order(kind: str, customer: str, order: dict[str, object]) -> None:
    click.echo(ControlClient(data_directory()).post_json(f"/v1/{kind}/{segment(customer)}", order)["text"])


@click.command("calendar", cls=Command, example="caudal calendar ana.garcia")
@customer_argument
@json_option
def calendar(customer: str, as_json: bool) -> None:
    """List the days on which a customer is reminded, slowed, blocked.

    They are those by which it happens; a payment ends all of it.
    """
    columns = (text("DAY", "on"), text("WHAT", "act"), text("NUMBER", "number", spare=1))
    show_listing(f"/v1/calendars/{segment(customer)}", {}, columns, Paging(None, as_json), datetime.now(UTC))
