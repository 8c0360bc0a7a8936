"""Numbers without gaps, and the chain that holds documents together."""

from __future__ import annotations

from datetime import date
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from billing.numbering import FIRST_HASH, SeriesState, Unnumbered, assign, link
from domain.billing_terms import SeriesTerms


def numbers(series: SeriesState, on: str, *customers: int) -> list[str]:
    waiting = [Unnumbered(place, customer, bytes(32)) for place, customer in enumerate(customers)]
    return [each.number for each in assign(series, waiting, date.fromisoformat(on))]


def test_n1_a_series_in_which_each_customer_counts_for_himself() -> None:
    series = SeriesState(SeriesTerms("{customer:3}-{next:3}", "customer"), {})
    found = [numbers(series, on, 1, 2, 3) for on in ("2023-10-01", "2023-11-01", "2024-01-01")]
    assert found == [[f"{customer:03}-{run:03}" for customer in (1, 2, 3)] for run in (1, 2, 3)]


def test_n2_what_begins_a_counter_anew_is_what_the_series_says() -> None:
    series = SeriesState(SeriesTerms("{year}{month}-{next:3}", "never"), {"": 9})
    assert numbers(series, "2023-10-05", 1, 2, 3) == ["202310-010", "202310-011", "202310-012"]
    assert numbers(series, "2023-11-05", 1) == ["202311-013"]
    monthly = SeriesState(SeriesTerms("{year}{month}-{next:3}", "month"), {"2023-10": 9})
    assert numbers(monthly, "2023-11-05", 1) == ["202311-001"]
    assert numbers(monthly, "2023-10-31", 1) == ["202310-010"]


def test_a_year_of_two_digits() -> None:
    assert numbers(SeriesState(SeriesTerms("{yy}/{next}"), {}), "2026-01-01", 1, 1) == ["26/1", "26/2"]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.integers(0, 19))
def test_the_chain_shows_what_was_changed_or_taken_out(said: list[bytes], place: int) -> None:
    series = SeriesState(SeriesTerms("F{next}"), {})
    waiting = [Unnumbered(id_, 1, sha256(text).digest()) for id_, text in enumerate(said)]
    on = date(2026, 1, 1)
    found = list(assign(series, waiting, on))
    assert [each.position for each in found] == list(range(1, len(said) + 1))
    before = FIRST_HASH
    for each, document in zip(found, waiting, strict=True):
        before = link(before, each.number, on, document.digest)
        assert each.hash == before
    if place < len(said):
        forged = [*waiting]
        forged[place] = forged[place]._replace(digest=sha256(said[place] + b"x").digest())
        other = list(assign(SeriesState(SeriesTerms("F{next}"), {}), forged, on))
        assert [each.hash == true.hash for each, true in zip(other, found, strict=True)] == [
            number < place for number in range(len(said))
        ]
