"""What an account has and was billed -> the document that is missing; nothing is read or written.

Rule: the run, a trial, a wallet's forecast and a proforma all draft by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from billing.cycle import monthly
from billing.documents import Draft, assemble
from billing.generation import AccountTerms, Generated, generate
from billing.recurrence import account_cycle
from billing.tax import Begun
from domain.billing_terms import BillingTerms, BillingType, DocumentKind
from domain.catalogue import Mode
from storage.billing.accounts import Account, Catalogue


def draft(account: Account, catalogue: Catalogue, on: date) -> tuple[Generated, list[Draft]]:
    """Return what is missing of an account, and the document that it makes. Raise CaudalError."""
    found = generate(
        _generation_terms(account.terms),
        account.subscriptions,
        catalogue.products,
        on,
        discounts=account.discounts,
        one_offs=account.one_offs,
        coupons=account.coupons,
    )
    lines, replaced = account.compared(found.lines)
    if not lines:
        return found, []
    made = assemble(
        lines,
        account.terms,
        catalogue.products,
        catalogue.applied,
        account.charged,
        customer_id=account.customer_id,
        partner_id=account.partner_id,
        dated=on,
        texts=account.texts,
        members=account.members,
        begun=begun(account, on),
    )
    if account.asks_first and made.kind is DocumentKind.INVOICE and made.gross:
        made.kind = DocumentKind.PROFORMA
    if made.due_on is not None:
        # Changes do not put off what was due already.
        made.due_on = min([made.due_on, *(each.due_on for each in replaced)])
    made.frozen = frozen(account, made)
    return found, [made]


def begun(account: Account, on: date) -> list[Begun] | None:
    """Return what was charged already of the document of a day's month; None: documents are made at once."""
    if account.terms.billing is not BillingType.PREPAID_DAILY:
        return None
    first = monthly(account.terms.billing_day).period(on).starts
    return [each.begun for each in account.daily if each.starts >= first]


def frozen(account: Account, made: Draft) -> dict[str, object]:
    """Return what a document prints beside its lines, as it is now."""
    taxes = [
        [
            total.applied.code, total.applied.category.value, str(total.applied.percent), total.base, total.tax,
            total.applied.exemption_reason,
        ]
        for total in made.taxes
    ]  # fmt: skip
    return {"seller": account.seller(), "buyer": account.buyer(), "taxes": taxes}


def taken(drafts: Sequence[Draft]) -> int:
    """Return what documents take from a wallet; a credit note gives."""
    return sum(-each.gross if each.kind is DocumentKind.CREDIT_NOTE else each.gross for each in drafts)


def _generation_terms(terms: BillingTerms) -> AccountTerms:
    """Return what generation needs of an account's terms."""
    at_once = terms.at_once or terms.billing.is_prepaid
    mode = Mode.ARREARS if terms.in_arrears else Mode.ADVANCE
    if terms.billing is BillingType.POSTPAID:
        mode = Mode.ARREARS
    elif terms.billing is BillingType.PREPAID_DAILY:
        mode = Mode.DAILY
    elif terms.billing is BillingType.PREPAID_PERIOD:
        mode = Mode.ADVANCE
    return AccountTerms(terms.currency, account_cycle(terms), mode, terms.proration, at_once)
