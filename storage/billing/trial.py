"""What a run would make, beside what accounts were billed the month before; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from domain.billing_terms import DocumentKind
from domain.errors import CaudalError
from storage.billing import accounts, drafting
from storage.billing.accounts import Catalogue
from storage.billing.run import ACCOUNTS_PER_TRANSACTION, DUE, Progress


@dataclass(frozen=True, slots=True)
class Preview:
    """What an account would be billed, and what it was billed the month before."""

    customer_id: int
    login: str
    currency: str
    gross: int
    before: int
    is_idle: bool = False
    """Whether nothing would be made for it."""

    @property
    def difference(self) -> int:
        """What it is more."""
        return self.gross - self.before


def preview(
    engine: Engine, on: date, customer: int | None = None, *, with_wallets: bool = True
) -> Iterator[tuple[Sequence[Preview], Progress]]:
    """Yield what accounts would be billed, some at a time, and write nothing."""
    progress = Progress()
    last = 0
    while True:
        with engine.connect() as connection, connection.begin() as transaction:
            catalogue = Catalogue.read(connection)
            ids = list(
                connection.scalars(
                    text(f"""SELECT customer_id FROM account
                        WHERE CASE WHEN CAST(:customer AS bigint) IS NULL THEN {DUE} ELSE customer_id = :customer END
                            AND (:wallets OR billing NOT IN ('prepaid-daily', 'prepaid-period'))
                            AND customer_id > :last ORDER BY customer_id LIMIT {ACCOUNTS_PER_TRANSACTION}"""),
                    {"on": on, "prepaid": False, "customer": customer, "wallets": with_wallets, "last": last},
                )
            )
            if not ids:
                return
            last = ids[-1]
            before = _billed_before(connection, ids, on)
            found = []
            for account in accounts.load(connection, ids, on, catalogue):
                progress.accounts += 1
                try:
                    _, drafts = drafting.draft(account, catalogue, on)
                except CaudalError:
                    progress.parked += 1
                    continue
                if account.wallet is not None and not account.wallet.pays(drafting.taken(drafts)):
                    drafts = []
                progress.add(drafts)
                gross = sum(-d.gross if d.kind is DocumentKind.CREDIT_NOTE else d.gross for d in drafts)
                customer_id = account.customer_id
                found.append(
                    Preview(
                        customer_id,
                        account.party.login,
                        account.terms.currency,
                        gross,
                        before.get(customer_id, 0),
                        not drafts,
                    )
                )
            transaction.rollback()
        yield found, progress


def _billed_before(connection: Connection, ids: Sequence[int], on: date) -> Mapping[int, int]:
    """Return what accounts were billed in the month before a day."""
    rows = connection.execute(
        text("""SELECT customer_id, sum(CASE kind WHEN 'credit-note' THEN -gross ELSE gross END)::bigint FROM document
            WHERE customer_id = ANY(CAST(:ids AS bigint[]))
                AND (kind IN ('invoice', 'credit-note') OR (kind = 'proforma' AND open_amount > 0))
                AND dated >= :on - interval '1 month' AND dated < :on GROUP BY 1"""),
        {"ids": [*ids], "on": on},
    )
    return dict(map(tuple, rows))
