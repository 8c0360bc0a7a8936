"""Transfers: balanced in each currency by itself, or refused."""

from __future__ import annotations

from datetime import date

import pytest

from billing.exchange import Foreign
from billing.ledger import (
    FROM_DEPOSIT,
    NOBODY,
    WRITTEN_OFF,
    AccountKind,
    LedgerAccount,
    Posting,
    Transfer,
    Unbalanced,
    check,
    received,
    wallet,
)

DAY = date(2026, 1, 1)


def test_l2_an_unbalanced_transfer_is_refused() -> None:
    postings = (wallet(1, 1000, "EUR"), Posting(LedgerAccount(AccountKind.REVENUE, "", "EUR"), -999))
    with pytest.raises(Unbalanced, match="1 EUR too much"):
        check(Transfer(DAY, "charge", "key", postings))


def test_l3_currencies_never_balance_each_other_and_an_exchange_balances_both() -> None:
    with pytest.raises(Unbalanced):
        check(Transfer(DAY, "move", "key", (wallet(1, 1000, "USD"), wallet(1, -1000, "EUR"))))
    came = received("cash", 926, "EUR", 7, Foreign(1000, "USD"))
    made = check(Transfer(DAY, "payment", "key", (*came, wallet(1, -926, "EUR"))))
    assert [(each.account.kind, each.account.currency, each.amount) for each in made.postings] == [
        (AccountKind.CASH, "USD", 1000), (AccountKind.EXCHANGE, "USD", -1000),
        (AccountKind.EXCHANGE, "EUR", 926), (AccountKind.WALLET, "EUR", -926),
    ]  # fmt: skip


def test_what_comes_out_of_a_deposit_or_is_given_up_is_no_cash() -> None:
    for method, kind, customer_id in (
        ("cash", AccountKind.CASH, NOBODY), (FROM_DEPOSIT, AccountKind.DEPOSIT, 7),
        (WRITTEN_OFF, AccountKind.WRITE_OFF, NOBODY),
    ):  # fmt: skip
        (posting,) = received(method, 926, "EUR", 7)
        assert (posting.account.kind, posting.amount, posting.customer_id) == (kind, 926, customer_id)


def test_what_the_other_currency_cannot_tell_is_exchanged_all_the_same() -> None:
    came = received("cash", -1, "EUR", 7, Foreign(0, "JPY"))
    assert [(each.account.kind, each.amount) for each in came] == [(AccountKind.EXCHANGE, -1)]
