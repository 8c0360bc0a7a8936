"""One thing that is billed now, by itself: whatever else is due waits for its run.

Rule: the document, or what a wallet pays of a day, is made in the caller's transaction, which holds the account's row.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.cycle import monthly
from billing.documents import Draft, assemble
from billing.generation import OneOff, one_off_line
from domain.billing_terms import BillingType
from storage.billing import allocations, daily, drafting, issuing, numbers
from storage.billing.accounts import Account, Catalogue


def draft(account: Account, catalogue: Catalogue, one_off: OneOff, today: date) -> Draft:
    """Return the document of one thing."""
    made = assemble(
        [one_off_line(one_off, catalogue.products, account.terms.currency)],
        account.terms,
        catalogue.products,
        catalogue.applied,
        {},
        customer_id=account.customer_id,
        partner_id=account.partner_id,
        dated=today,
        begun=drafting.begun(account, today),
    )
    made.frozen = drafting.frozen(account, made)
    return made


def bill(connection: Connection, account: Account, made: Draft, today: date) -> None:
    """Post and number a document, and let credit pay it; of a wallet that pays by the day, take it now."""
    if account.terms.billing is BillingType.PREPAID_DAILY:
        daily.charge(connection, [made], today)
        # Its document is made when the period is over, also where nothing else is sold.
        wake(connection, account.customer_id, monthly(account.terms.billing_day).next_begin(today))
        return
    series = numbers.SeriesOnDemand(connection)
    issuing.issue(connection, [made], today, series)
    allocations.use_credit(connection, [account.customer_id])
    numbers.number_documents(connection, [series.id_of(account.partner_id, made.kind)], today)


def wake(connection: Connection, payer_id: int, on: date) -> None:
    """Let a run look at an account on a day."""
    connection.execute(
        text("""UPDATE account SET next_bill_on = least(next_bill_on, :on),
            state = CASE state WHEN 'new' THEN 'active' ELSE state END WHERE customer_id = :payer"""),
        {"on": on, "payer": payer_id},
    )
