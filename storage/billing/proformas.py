"""Proformas: what is asked for before it is billed, and the invoices that they become when they are paid.

Rule: a proforma moves nothing in the books and is never changed. It is paid when what the customer has too much reaches
its whole amount, the oldest first; the invoice that says the same is issued in that transaction, and the money pays
it. Until then a part of it waits as credit. The caller holds the rows of the accounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing.claims import Key
from billing.cycle import Period
from billing.discounts import DISCOUNT
from billing.documents import Draft, DraftLine, tax_account
from billing.generation import COUPON, ONE_OFF, Generated, Line, OneOff, UsagePeriod
from billing.ledger import Earned
from billing.proforma import OpenProforma
from domain.billing_terms import DocumentKind
from domain.tax import AppliedTax, TaxCategory
from storage.billing import allocations, gate, issuing, numbers
from storage.billing.accounts import Account
from storage.errors import OrderRefused


class ProformaRefused(OrderRefused):
    """A proforma cannot be made or withdrawn so."""


def write(
    connection: Connection,
    found: Sequence[tuple[Account, Generated]],
    drafts: Sequence[Draft],
    on: date,
    series: numbers.SeriesBook,
    slot: int = 0,
) -> set[int]:
    """Store and post what a run made; return the customers whose proformas wait.

    Where a customer has the money already, the invoice is issued instead of a proforma.
    """
    replaced = {
        account.customer_id: account.compared(generated.lines).replaced
        for account, generated in found
        if account.proformas
    }
    waiting = {customer_id for customer_id, gone in replaced.items() if not gone}
    _skip_where_paid(connection, [each for each in drafts if each.customer_id not in waiting])
    made = dict.fromkeys(replaced, 0)
    if drafts:
        ids = issuing.issue(connection, drafts, on, series, slot=slot)
        made |= {each.customer_id: id_ for id_, each in zip(ids, drafts, strict=True)}
        allocations.use_credit(connection, sorted({each.customer_id for each in drafts}))
    _replace(connection, [(each, made[customer_id] or None) for customer_id, gone in replaced.items() for each in gone])
    waiting |= {each.customer_id for each in drafts if each.kind is DocumentKind.PROFORMA}
    settled = settle(connection, sorted(waiting), on, series)
    if waiting:
        allocations.use_credit(connection, sorted(waiting))
    return waiting - settled


def _skip_where_paid(connection: Connection, drafts: Iterable[Draft]) -> None:
    """Let proformas be invoices whose customers have the money already."""
    asking = [each for each in drafts if each.kind is DocumentKind.PROFORMA]
    credit = _credit(connection, [each.customer_id for each in asking])
    for each in asking:
        if credit.get((each.customer_id, each.currency), 0) >= each.gross:
            each.kind = DocumentKind.INVOICE


def _replace(connection: Connection, pairs: Sequence[tuple[OpenProforma, int | None]]) -> None:
    """End proformas in favour of other documents; what was done to collect the oldest one was done for its heir."""
    if not pairs:
        return
    given = {"ids": [each.document_id for each, _ in pairs], "heirs": [heir for _, heir in pairs]}
    connection.execute(
        text("""UPDATE document AS d SET open_amount = 0, superseded_by = u.heir
            FROM unnest(CAST(:ids AS bigint[]), CAST(:heirs AS bigint[])) AS u(id, heir) WHERE d.id = u.id"""),
        given,
    )
    oldest: dict[int, int] = {}
    for each, heir in pairs:
        if heir is not None:
            oldest.setdefault(heir, each.document_id)
    connection.execute(
        text("""UPDATE collection_step AS s SET document_id = u.heir
            FROM unnest(CAST(:ids AS bigint[]), CAST(:heirs AS bigint[])) AS u(id, heir) WHERE s.document_id = u.id"""),
        {"ids": [*oldest.values()], "heirs": [*oldest]},
    )


def settle(connection: Connection, customer_ids: Sequence[int], on: date, series: numbers.SeriesBook) -> set[int]:
    """Issue the invoices of proformas that customers have the money for; return those who have no other ones.

    The caller lets the money pay them.
    """
    credit = _credit(connection, customer_ids)
    if not credit:
        return set()
    rows = connection.execute(text(_OPEN), {"ids": [*customer_ids]}).all()
    paid, left = [], set()
    for row in rows:
        key = row.customer_id, row.currency
        if row.customer_id not in left and credit.get(key, 0) >= row.open_amount:
            credit[key] -= row.open_amount
            paid.append(row.id)
        else:
            left.add(row.customer_id)
    if paid:
        become_invoices(connection, paid, on, series)
    return {row.customer_id for row in rows} - left


def become_invoices(
    connection: Connection, proforma_ids: Sequence[int], on: date, series: numbers.SeriesBook
) -> list[int]:
    """Issue the invoices that say what open proformas say, in their place; return their ids."""
    heads = {row["id"]: row for row in connection.execute(text(_HEADS), {"ids": [*proforma_ids]}).mappings()}
    lines: dict[int, list[RowMapping]] = {id_: [] for id_ in proforma_ids}
    for line in connection.execute(text(_LINES), {"ids": [*proforma_ids]}).mappings():
        lines[line["document_id"]].append(line)
    ids = issuing.issue(connection, [_draft(heads[id_], lines[id_], on) for id_ in proforma_ids], on, series)
    connection.execute(
        text("""UPDATE document AS d SET open_amount = 0, superseded_by = u.heir
            FROM unnest(CAST(:ids AS bigint[]), CAST(:heirs AS bigint[])) AS u(id, heir) WHERE d.id = u.id"""),
        {"ids": [*proforma_ids], "heirs": ids},
    )
    return ids


def among(connection: Connection, document_ids: Sequence[int]) -> set[int]:
    """Return which of some documents are proformas, or were replaced."""
    rows = connection.scalars(text(f"SELECT id FROM document WHERE id {_AMONG} AND {_ASKED}"), {"ids": [*document_ids]})
    return {*rows} if document_ids else set()


def asked(connection: Connection, customer_ids: Sequence[int]) -> list[int]:
    """Return which of some customers were ever asked by a proforma."""
    query = f"SELECT DISTINCT customer_id FROM document WHERE customer_id {_AMONG} AND kind = 'proforma' ORDER BY 1"
    return [*connection.scalars(text(query), {"ids": [*customer_ids]})]


def accept(
    connection: Connection, chosen: Sequence[int], money: int, on: date, series: numbers.SeriesBook
) -> list[int]:
    """Return which documents a payment is for: of proformas their invoices, issued now where the money pays all of it.

    A document that was replaced stands for the one in its place.
    """
    accepted = []
    for document_id in chosen:
        row = connection.execute(text(_HEIR), {"id": document_id}).one_or_none()
        if row is None or row.kind != DocumentKind.PROFORMA.value:
            accepted.append(document_id if row is None else row.id)
            money -= 0 if row is None else min(money, row.open_amount)
        elif 0 < row.open_amount <= money:
            accepted += become_invoices(connection, [row.id], on, series)
            money -= row.open_amount
    return accepted


def withdraw(connection: Connection, document_id: int, today: date) -> None:
    """End an open proforma without another one. Raise ProformaRefused."""
    row = connection.execute(text("SELECT * FROM document WHERE id = :id"), {"id": document_id}).one()
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": row.customer_id})
    done = connection.execute(
        text("""UPDATE document SET open_amount = 0 WHERE id = :id AND kind = 'proforma' AND open_amount > 0
            RETURNING id"""),
        {"id": document_id},
    )
    if done.first() is None:
        raise ProformaRefused(
            f"{row.number or document_id} is no proforma that waits to be paid; see `caudal invoice list --open`"
        )
    gate.reassess(connection, [row.customer_id], today)


def _credit(connection: Connection, customer_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    """Return what customers have that pays no document yet, by currency."""
    if not customer_ids:
        return {}
    rows = connection.execute(text(_CREDIT), {"ids": [*customer_ids]})
    return {(customer_id, currency): amount for customer_id, currency, amount in rows}


def _draft(head: RowMapping, rows: Sequence[RowMapping], on: date) -> Draft:
    """Return the invoice that says what a proforma says."""
    lines, earned = [_line(row) for row in rows], Earned()
    for row, line in zip(rows, lines, strict=True):
        earned.revenue[row["kind"]] = earned.revenue.get(row["kind"], 0) + line.net
        for applied, amount in line.taxes:
            name = tax_account(applied)
            earned.taxes[name] = earned.taxes.get(name, 0) + amount
    return Draft(
        DocumentKind.INVOICE,
        head["customer_id"],
        head["partner_id"],
        head["currency"],
        on,
        max(on, head["due_on"]),
        lines,
        [],
        head["net"],
        head["tax"],
        earned,
        head["language"],
        # Whoever pays twice at once has one invoice of each proforma.
        key=f"proforma/{head['id']}",
        frozen={**head["frozen"], "proforma": head["number"] or str(head["id"])},
    )


def _line(row: RowMapping) -> DraftLine:
    taxes = tuple(
        (AppliedTax(code, TaxCategory(category), Decimal(percent), compound, reason), amount)
        for code, category, percent, compound, reason, amount in row["taxes"]
    )
    days = Period(row["starts"], row["ends"])
    period = Period(row["period_starts"], row["period_ends"])
    usage, component = row["usage"], row["component"]
    line = Line(
        row["customer_id"], row["subscription_id"], Key(component, row["rate"]), period, days, row["amount"],
        row["product_id"], row["unit_price"], row["quantity"], tuple(applied.code for applied, _ in taxes),
        row["includes_tax"], row["credits_line"],
        None if usage is None else UsagePeriod(period, row["amount"], int(row["quantity"]), usage),
        _number_in(component, DISCOUNT) or _number_in(component, COUPON), _one_off(row),
    )  # fmt: skip
    return DraftLine(line, row["net"], row["tax"], taxes, row["text"])


def _one_off(row: RowMapping) -> OneOff | None:
    id_ = _number_in(row["component"], ONE_OFF)
    if id_ is None:
        return None
    return OneOff(id_, row["customer_id"], row["starts"], row["unit_price"], row["quantity"], row["product_id"])


def _number_in(component: str, of: str) -> int | None:
    """Return the id in the name of a component of some kind."""
    return int(component.removeprefix(of).partition("/")[0]) if component.startswith(of) else None


_AMONG = "= ANY(CAST(:ids AS bigint[]))"
_CREDIT = f"""SELECT customer_id, currency, sum(amount)::bigint FROM (
        SELECT customer_id, currency, unused AS amount FROM payment WHERE customer_id {_AMONG} AND unused > 0
        UNION ALL
        SELECT customer_id, currency, open_amount FROM document
            WHERE customer_id {_AMONG} AND kind = 'credit-note' AND open_amount > 0
    ) AS each GROUP BY 1, 2"""
_OPEN = f"""SELECT customer_id, currency, id, open_amount FROM document
    WHERE customer_id {_AMONG} AND kind = 'proforma' AND open_amount > 0 ORDER BY due_on, id"""
_ASKED = "(kind = 'proforma' OR superseded_by IS NOT NULL)"
_HEADS = f"SELECT * FROM document WHERE id {_AMONG}"
_LINES = f"""SELECT l.*, coalesce(l.subscription_id, p.subscription_id) AS subscription_id, r.kind
    FROM document_line AS l LEFT JOIN proforma_line AS p ON p.line_id = l.id JOIN product AS r ON r.id = l.product_id
    WHERE l.document_id {_AMONG} ORDER BY l.document_id, l.position"""
_HEIR = """WITH RECURSIVE heir AS (
        SELECT id, kind, open_amount, superseded_by FROM document WHERE id = :id
        UNION ALL
        SELECT d.id, d.kind, d.open_amount, d.superseded_by FROM document AS d JOIN heir AS h ON d.id = h.superseded_by
    ) SELECT id, kind, open_amount FROM heir WHERE superseded_by IS NULL"""
