"""Routes over vouchers: made, printed, listed, declared void, redeemed.

Rule: a code is read here and never written to a log; one that is refused is counted in a transaction that is committed
before the refusal is told.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from billing.voucher_cards import PrintedCard, pdf
from billing.voucher_codes import grouped, read_code
from control import voucher_models as models
from control.amounts import minor
from control.directory import service_of
from control.errors import bad_request
from control.models import Listing
from control.ports import ControlPorts
from control.purchase_log import note_top_up
from control.questions import DEFAULT_LIMIT, Limit, Name, Ports
from domain.money import decimal_text
from storage.billing import clock, reading, vouchers
from storage.top_ups import Origin

routes = APIRouter(tags=["vouchers"])

_PURPOSE = b"caudal: codes of vouchers"


@routes.post("/vouchers")
def make_vouchers(ports: Ports, order: models.VoucherBatchOrder) -> models.VoucherBatchMade:
    """Make a batch; its codes are in this answer and nowhere else."""
    with ports.engine.begin() as connection:
        amount = None
        if order.amount is not None:
            amount = minor(order.amount, reading.isp(connection)["currency"])
            if amount <= 0:
                raise bad_request("a voucher is worth more than nothing", "give another amount")
        wanted = vouchers.BatchOrder(order.name, order.count, amount, order.offer, order.valid_until, order.made_by)
        codes = vouchers.make(connection, _key(ports), wanted, clock.today(connection))
    return models.VoucherBatchMade(name=order.name, codes=[grouped(code) for code in codes])


@routes.get("/vouchers")
def list_batches(ports: Ports) -> Listing[models.VoucherBatch]:
    """List batches, the newest first."""
    with ports.engine.connect() as connection:
        rows = vouchers.batches(connection)
    items = [
        models.VoucherBatch(
            **{**row, "amount": None if row["amount"] is None else decimal_text(row["amount"], row["currency"])}
        )
        for row in rows
    ]
    return Listing(items=items, next=None)


@routes.get("/vouchers/{name}")
def list_vouchers(ports: Ports, name: Name, limit: Limit = DEFAULT_LIMIT, after: int = 0) -> Listing[models.Voucher]:
    """List the vouchers of a batch by their number."""
    with ports.engine.connect() as connection:
        rows = vouchers.vouchers(connection, name, after=after, limit=limit + 1)
    following = str(rows[limit - 1]["number"]) if len(rows) > limit else None
    return Listing(items=[models.Voucher(**row) for row in rows[:limit]], next=following)


@routes.post("/voucher-voids/{name}")
def void_vouchers(ports: Ports, name: Name, order: models.VoidOrder) -> models.VouchersVoided:
    """Declare vouchers void that nobody has redeemed: one of a batch, or all."""
    with ports.engine.begin() as connection:
        count = vouchers.void(connection, name, order.number, ports.now())
    return models.VouchersVoided(name=name, voided=count)


@routes.post("/voucher-sales/{name}")
def book_sale(ports: Ports, name: Name, order: models.SaleOrder) -> models.SaleBooked:
    """Book what came in for cards of a batch; one key is one sale."""
    with ports.engine.begin() as connection:
        currency = vouchers.currency_of(connection, name)
        amount, commission = minor(order.amount, currency), minor(order.commission, currency)
        if amount <= 0 or commission < 0:
            raise bad_request("what came in is more than nothing", "give another amount")
        sale = vouchers.SaleOrder(name, amount, commission, order.method, order.key, order.made_by)
        again = vouchers.sold(connection, sale, clock.today(connection))
    return models.SaleBooked(
        name=name,
        amount=decimal_text(amount, currency),
        commission=decimal_text(commission, currency),
        currency=currency,
        again=again,
    )


@routes.post("/voucher-redemptions/{customer}")
def redeem_voucher(ports: Ports, customer: Name, order: models.RedemptionOrder) -> models.Redemption:
    """Redeem a code: money is booked as a payment, a top-up is granted; once, however often it is sent."""
    code = read_code(order.code)
    service, now = None if order.service is None else service_of(ports, order.service).id, ports.now()
    with ports.engine.begin() as connection:
        wanted = vouchers.RedeemOrder(reading.customer_id(connection, customer), code, service)
        outcome = vouchers.attempt(connection, _key(ports), wanted, now, clock.today(connection))
    if isinstance(outcome, vouchers.VoucherRefused):
        raise outcome
    if outcome.top_up is not None and outcome.service is not None and not outcome.again:
        note_top_up(ports, outcome.service, outcome.top_up, Origin.VOUCHER, asked_at=now)
    return models.Redemption(
        customer=customer,
        voucher=outcome.batch,
        number=outcome.number,
        amount=None if outcome.amount is None else decimal_text(outcome.amount, outcome.currency),
        currency=outcome.currency,
        receipt=outcome.receipt,
        top_up=outcome.top_up,
        service=outcome.service,
        again=outcome.again,
    )


@routes.post("/voucher-cards", response_class=Response)
def print_vouchers(ports: Ports, order: models.CardsOrder) -> Response:
    """Print cards, of codes that the caller has."""
    codes = [read_code(code) for code in order.codes]
    with ports.engine.connect() as connection:
        issuer = reading.isp(connection)["name"]
        found = vouchers.cards(connection, _key(ports), codes)
    cards = [_printed(code, card, order.language) for code, card in zip(codes, found, strict=True)]
    return Response(pdf(issuer, cards, order.language), media_type="application/pdf")


def _printed(code: str, card: vouchers.Card, language: str) -> PrintedCard:
    offer = (card.names or {}).get(language, card.offer)
    number = f"{card.batch} {card.number}"
    return PrintedCard(grouped(code), number, card.currency, card.amount, offer, card.valid_until)


def _key(ports: ControlPorts) -> bytes:
    return ports.vault.derive(_PURPOSE)
