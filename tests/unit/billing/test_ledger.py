"""Transfers: balanced in each currency by itself, or refused."""

from __future__ import annotations

from datetime import date

import pytest

from billing.ledger import AccountKind, LedgerAccount, Posting, Transfer, Unbalanced, check, exchange, wallet

DAY = date(2026, 1, 1)


def test_l2_an_unbalanced_transfer_is_refused() -> None:
    postings = (wallet(1, 1000, "EUR"), Posting(LedgerAccount(AccountKind.REVENUE, "", "EUR"), -999))
    with pytest.raises(Unbalanced, match="1 EUR too much"):
        check(Transfer(DAY, "charge", "key", postings))


def test_l3_currencies_never_balance_each_other_and_an_exchange_balances_both() -> None:
    with pytest.raises(Unbalanced):
        check(Transfer(DAY, "move", "key", (wallet(1, 1000, "USD"), wallet(1, -1000, "EUR"))))
    made = exchange(1, (1000, "USD"), (926, "EUR"), key="one", posted_on=DAY)
    sums: dict[str, int] = {}
    for posting in made.postings:
        sums[posting.account.currency] = sums.get(posting.account.currency, 0) + posting.amount
    assert sums == {"USD": 0, "EUR": 0}
    assert [(each.account.kind, each.amount) for each in made.postings] == [
        (AccountKind.WALLET, 1000), (AccountKind.EXCHANGE, -1000), (AccountKind.EXCHANGE, 926),
        (AccountKind.WALLET, -926),
    ]  # fmt: skip
