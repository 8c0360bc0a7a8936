"""Decides what a document is: its kind, its lines with their tax, what it sums to and what it posts.

Rule: pure. What is due together is one document: an invoice, or a credit note when more is taken back than charged. A
line that credits another one has the taxes of that one, as they were; every other line has those of its day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from billing.claims import Key
from billing.discounts import DISCOUNT
from billing.generation import COUPON, OVERAGE, PART, Line
from billing.ledger import Earned, Posting, Transfer, cash, receivable, wallet
from billing.tax import Begun, CreditedLine, TaxableLine, TaxTotal, credit, settle, settle_parts, with_tax
from domain.billing_terms import BillingTerms, DocumentKind
from domain.catalogue import Product
from domain.tax import NO_PERCENT, AppliedTax, TaxCategory

DOCUMENT_TRANSFER = "document"
DAILY_TRANSFER = "daily"

Taxes = Callable[[tuple[str, ...], date], tuple[AppliedTax, ...]]
"""Return the taxes of these codes as they are on a day."""


class DraftLine(NamedTuple):
    """A line with its tax."""

    line: Line
    net: int
    tax: int
    taxes: tuple[tuple[AppliedTax, int], ...]
    text: str


class ChargedLine(NamedTuple):
    """A line that may be credited, with its taxes as they were."""

    applied: tuple[AppliedTax, ...]
    charged: CreditedLine


@dataclass(slots=True)
class Draft:
    """A document that is not stored yet; its amounts are positive, also a credit note's."""

    kind: DocumentKind
    customer_id: int
    partner_id: int
    currency: str
    dated: date
    due_on: date | None
    lines: list[DraftLine]
    taxes: list[TaxTotal]
    net: int
    tax: int
    earned: Earned
    language: str
    paid_from_wallet: bool = False
    paid_by: str | None = None
    """By which method it was paid as it was made; None: from the wallet, or later."""
    key: str | None = None
    """What is done once has a key."""
    credits_document: int | None = None
    frozen: dict[str, object] = field(default_factory=dict)

    @property
    def gross(self) -> int:
        """What is to be paid, or to be given back."""
        return self.net + self.tax

    @property
    def is_paid(self) -> bool:
        """Whether nothing of it is open from the beginning."""
        return self.paid_from_wallet or self.paid_by is not None

    def postings(self) -> tuple[Posting, ...]:
        """Return what the document moves in the books; a proforma moves nothing."""
        if self.kind is DocumentKind.PROFORMA:
            return ()
        total = self.earned.gross
        if self.paid_by is not None:
            debit = cash(self.paid_by, total, self.currency)
        else:
            debit = (wallet if self.paid_from_wallet else receivable)(self.customer_id, total, self.currency)
        return (*((debit,) if total else ()), *self.earned.postings(self.currency))

    def transfer(self, document_id: int, posted_on: date) -> Transfer | None:
        """Return the transfer that posts it; None when nothing moves."""
        postings = self.postings()
        if not postings:
            return None
        return Transfer(
            posted_on,
            DOCUMENT_TRANSFER,
            f"document/{document_id}",
            postings,
            partner_id=self.partner_id,
            customer_id=self.customer_id,
            document_id=document_id,
        )


def assemble(
    lines: Sequence[Line],
    terms: BillingTerms,
    products: Mapping[int, Product],
    taxes: Taxes,
    charged: Mapping[int, ChargedLine],
    *,
    customer_id: int,
    partner_id: int,
    dated: date,
    texts: Mapping[int, str] | None = None,
    members: Mapping[int, str] | None = None,
    begun: Sequence[Begun] | None = None,
) -> Draft:
    """Return the document of these lines.

    `charged` are the lines that may be credited, by their id; `texts` are the names of discounts, `members` those of
    sub-accounts by their id: their lines say whose they are. `begun` are what was charged already of a document that
    is made later, of which these lines are more; None: it is made of them alone.
    """
    taxable = list(_taxable(lines, terms, taxes, charged, dated, in_parts=begun is not None))
    rounding = terms.tax_rounding
    settled = settle(taxable, rounding) if begun is None else settle_parts(taxable, rounding, begun)
    earned = Earned()
    drafted = []
    for line, stated, part in zip(lines, taxable, settled.lines, strict=True):
        product = products[line.product_id]
        kind = product.kind.value
        earned.revenue[kind] = earned.revenue.get(kind, 0) + part.net
        drafted.append(
            DraftLine(
                line,
                part.net,
                sum(part.taxes),
                tuple(zip(stated.taxes, part.taxes, strict=True)),
                _whose(line, members) + line_text(line, product, terms.language, texts or {}),
            )
        )
    for row in settled.totals:
        if row.tax:
            name = tax_account(row.applied)
            earned.taxes[name] = earned.taxes.get(name, 0) + row.tax
    is_credit = settled.gross < 0
    sign = -1 if is_credit else 1
    return Draft(
        DocumentKind.CREDIT_NOTE if is_credit else DocumentKind.INVOICE,
        customer_id,
        partner_id,
        terms.currency,
        dated,
        None if is_credit else dated + timedelta(days=terms.due_days),
        drafted,
        [TaxTotal(row.applied, sign * row.base, sign * row.tax) for row in settled.totals],
        sign * settled.net,
        sign * settled.tax,
        earned,
        terms.language,
        paid_from_wallet=terms.billing.is_prepaid,
    )


def _whose(line: Line, members: Mapping[int, str] | None) -> str:
    login = (members or {}).get(line.customer_id)
    return "" if login is None else f"{login}: "


def tax_account(applied: AppliedTax) -> str:
    """Return the name of the ledger's account of a rate."""
    return f"{applied.code} {applied.percent.normalize():f}"


def part_of(subscription_id: int | None, key: Key) -> tuple[int | None, Key]:
    """Return what the parts of a line have in common that is charged day by day."""
    return subscription_id, key


def _taxable(
    lines: Sequence[Line],
    terms: BillingTerms,
    taxes: Taxes,
    charged: Mapping[int, ChargedLine],
    dated: date,
    *,
    in_parts: bool,
) -> Iterator[TaxableLine]:
    """Yield lines with their taxes; a credit has those of the line that it credits."""
    credited: dict[int, int] = {}
    for line in lines:
        before = charged.get(line.credits_line) if line.credits_line is not None else None
        if line.credits_line is None or before is None:
            common = part_of(line.subscription_id, line.key) if in_parts else None
            applied, includes_tax, relief = _applied(line, terms, taxes, dated)
            yield TaxableLine(line.amount, applied, includes_tax, part_of=common, relief=relief)
            continue
        so_far = credited.get(line.credits_line, before.charged.credited)
        known = credit(before.charged._replace(credited=so_far), line.amount)
        credited[line.credits_line] = so_far - line.amount
        yield TaxableLine(line.amount, before.applied, line.price_includes_tax, known)


def _applied(
    line: Line, terms: BillingTerms, taxes: Taxes, dated: date
) -> tuple[tuple[AppliedTax, ...], bool, Fraction | None]:
    """Return the taxes of a line, whether its price includes them, and what it is divided by where it has others."""
    found = taxes(line.taxes, dated)
    if not terms.tax_exempt:
        return found, line.price_includes_tax, None
    category = TaxCategory.REVERSE_CHARGE if terms.reverse_charge else TaxCategory.EXEMPT
    exempt = tuple(
        each._replace(category=category, percent=NO_PERCENT, exemption_reason=terms.tax_exempt) for each in found
    )
    # Whoever owes no tax pays none that is in a price either.
    return exempt, False, with_tax(found) if line.price_includes_tax else None


def line_text(line: Line, product: Product, language: str, texts: Mapping[int, str]) -> str:
    """Return what a document calls a line."""
    words = _WORDS["es" if language == "es" else "en"]
    name = product.name(language)
    component = line.key.component
    part = _part_name(component, product) if component.rpartition("/")[2].startswith(PART) else ""
    if part:
        name = f"{name}: {part}"
    if line.one_off is not None and line.one_off.text:
        told = words.get(line.one_off.text, line.one_off.text)
        return f"{name}: {told}" if line.one_off.text == ACTIVATION else told
    if component.startswith(COUPON):
        return words["coupon"]
    if component.startswith(DISCOUNT):
        return f"{name}: {texts.get(line.discount_id or 0) or words['discount']}"
    if component == OVERAGE:
        return name if product.metered else f"{name}: {words['usage']}"
    return f"{name}: {words['credit']}" if line.credits_line is not None else name


def _part_name(component: str, product: Product) -> str:
    """Return the name of the part of a bundle that a line is for; empty where it has it no more."""
    place = int(component.rpartition(PART)[2]) - 1
    return product.parts[place].name if place < len(product.parts) else ""


ACTIVATION = "activation"
"""Of these words the texts of fees are; any other text stands on the document as it is."""
_WORDS = {
    "en": {
        "coupon": "Coupon", "discount": "discount", "usage": "usage beyond the plan", "credit": "credit",
        ACTIVATION: "activation", "late-fee": "Late payment fee", "reactivation-fee": "Reactivation fee",
        "trust-unlock": "Days on trust",
        "cancellation": "Cancellation fee", "change": "Change of plan",
    },
    "es": {
        "coupon": "Cupón", "discount": "descuento", "usage": "consumo fuera del plan", "credit": "abono",
        ACTIVATION: "alta", "late-fee": "Recargo por demora", "reactivation-fee": "Gastos de reconexión",
        "trust-unlock": "Días de confianza",
        "cancellation": "Penalización por baja", "change": "Cambio de tarifa",
    },
}  # fmt: skip
