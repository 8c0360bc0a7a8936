"""An account whose documents are made and posted, as a run does it, into books that are kept by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from billing.documents import ChargedLine, Draft, assemble
from billing.ledger import AccountKind, LedgerAccount, check
from billing.tax import CreditedLine
from domain.billing_terms import BillingTerms, BillingType, DocumentKind, TaxRounding
from domain.tax import AppliedTax, TaxCategory
from tests.unit.billing.billed_account import Account, day


def tax(code: str, percent: str, *, compound: bool = False) -> AppliedTax:
    return AppliedTax(code, TaxCategory.STANDARD, Decimal(percent), compound)


class Booked:
    """Bills an account and keeps what its documents say and move."""

    def __init__(
        self, account: Account, *taxes: AppliedTax, rounding: TaxRounding = TaxRounding.RATE, exempt: str = ""
    ) -> None:
        self.account = account
        self.documents: list[Draft] = []
        self.balances: dict[LedgerAccount, int] = defaultdict(int)
        self.charged: dict[int, ChargedLine] = {}
        self._taxes: Mapping[str, AppliedTax] = {each.code: each for each in taxes}
        self._terms = BillingTerms(
            account.currency, BillingType.RECURRING, tax_rounding=rounding, tax_exempt=exempt, language="en"
        )

    def run(self, on: str, *, floors: Mapping[int, date] | None = None) -> Draft | None:
        """Make and post the next document; None where nothing is missing."""
        found = self.account.would(on, floors=floors).lines
        if not found:
            return None
        made = assemble(
            found, self._terms, self.account.products, self._applied, self.charged, customer_id=1, partner_id=1,
            dated=day(on),
        )  # fmt: skip
        first = len(self.account.issued) + 1
        self.account.issue(found)
        for number, line in enumerate(made.lines, first):
            if line.line.credits_line is None:
                applied = tuple(each for each, _ in line.taxes)
                amounts = tuple(amount for _, amount in line.taxes)
                self.charged[number] = ChargedLine(applied, CreditedLine(line.line.amount, line.net, amounts))
            else:
                self._credit(line.line.credits_line, line.line.amount)
        transfer = made.transfer(first, day(on))
        for posting in () if transfer is None else check(transfer).postings:
            self.balances[posting.account] += posting.amount
        self.documents.append(made)
        return made

    def _credit(self, number: int, amount: int) -> None:
        before = self.charged[number]
        charged = before.charged._replace(credited=before.charged.credited - amount)
        self.charged[number] = before._replace(charged=charged)

    def _applied(self, codes: tuple[str, ...], _day: date) -> tuple[AppliedTax, ...]:
        return tuple(self._taxes[code] for code in codes)

    def balance(self, kind: AccountKind) -> int:
        """Return what the accounts of a kind sum to."""
        return sum(amount for account, amount in self.balances.items() if account.kind is kind)

    @property
    def gross(self) -> int:
        """What all documents ask for, less what they give back."""
        return sum(-each.gross if each.kind is DocumentKind.CREDIT_NOTE else each.gross for each in self.documents)
