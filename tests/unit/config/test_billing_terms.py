"""Billing terms as they are written: each mistake is told with what is allowed, and layers lie over each other."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from config.billing_terms import StoredTermsError, resolve
from config.isp import Known
from config.provisioning import ProvisioningError, parse, read
from domain.billing_terms import BillingType, DocumentKind
from radius import dictionary


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('type = "monthly"', "must be one of"),
        ("billing_day = 32", "from 1 to 31"),
        ('language = "fr"', "must be one of"),
        ('no_cut_days = "mon-sun"', "must leave a day of the week"),
        ('no_cut_days = "sat,mon-fri,sun"', "must leave a day of the week"),
        ('no_cut_days = "weekend"', 'must be days such as "mon-fri"'),
        ('holidays = ["12-32"]', 'must be a day such as "2027-01-06"'),
        ('holidays = "12-25"', "must be a list such as"),
        ("reminders = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]", "at most 9 numbers of days"),
        ("reminders = [-1]", "from 0 to 999"),
        ("trust_unlock = { days = 0 }", "from 1 to 999"),
        ("trust_unlock = { price = 1 }", "is missing"),
        ('credit_limit = "-1"', "at least 0"),
        ('seller = { iban = "ES00 0000 0000 0000 0000 0000" }', "its check digits are wrong"),
        ('seller = { colour = "blue" }', 'must be written as "#205080"'),
        ('series = { invoice = { pattern = "F{year}" } }', "must hold the number once"),
        ('series = { invoice = { pattern = "F{next}", reset = "week" } }', "must be one of"),
        ("grace = 3", "grace"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(written: str, told: str) -> None:
    with pytest.raises(ProvisioningError) as caught:
        parse(read(f'[isp]\nname = "Isla"\nbilling = {{ {written} }}\n', "isp.toml"), Known(), dictionary.load().encode)
    assert told in str(caught.value)


def test_who_says_more_is_heard_and_the_rest_stays() -> None:
    isp = {"billing_day": 5, "series": {"invoice": {"pattern": "F{next}"}}, "no_cut_days": "fri-sun"}
    partner = {"series": {"receipt": {"pattern": "R{next}"}}, "holidays": ["12-25", "2027-01-06"]}
    account = {"type": "prepaid-daily", "credit_limit": "2.50", "dates": {"block": "2027-02-01"}}
    terms = resolve(isp, partner, account, currency="USD")
    assert (terms.billing, terms.billing_day, terms.currency) == (BillingType.PREPAID_DAILY, 5, "USD")
    assert set(terms.series) == {DocumentKind.INVOICE.value, DocumentKind.RECEIPT.value}
    assert terms.credit_limit == Decimal("2.50")
    assert terms.collection.no_cut_days == {4, 5, 6}
    assert terms.collection.holidays == ("12-25", "2027-01-06")
    assert terms.collection.dates == {"block": date(2027, 2, 1)}


def test_stored_terms_of_another_release_are_told() -> None:
    with pytest.raises(StoredTermsError, match="apply the file that holds them again"):
        resolve({"grace": 3}, currency="EUR")
