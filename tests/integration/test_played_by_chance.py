"""Accounts that are played day by day: what was foretold is what happens, to the day."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.collections import standing
from domain.billing_terms import CollectionAct
from storage.billing import accounts, collecting, gate, payments, wallets
from storage.billing.accounts import Catalogue
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, bill, customer, provide, rows
from tests.integration.test_payments import PLAN

FIRST = date(2026, 1, 1)
LONGEST_DAYS = 70
_NUMBERS = count(1)
BY_CHANCE = settings(
    max_examples=15,
    deadline=None,
    # A life takes seconds: to make a smaller one of those that failed would take minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

PRICES = st.decimals("0.10", "60", places=2)
TYPES = st.sampled_from(["prepaid-daily", "prepaid-period", "prepaid-days"])
REDUCTIONS = st.none() | st.sampled_from(
    ['percent = "50"\nends = 2026-02-10', 'amount = "3"\nends = 2026-01-20', 'coupon = "7.50"']
)


def line(login: str) -> str:
    return f'[[service]]\nlogin = "{login}-line"\npassword = "a-password"\nplan = "home"\ncustomer = "{login}"\n'


def state_of(engine: sqlalchemy.Engine, login: str) -> str:
    return str(rows(engine, "SELECT billing_state FROM service WHERE login = :login", login=f"{login}-line")[0][0])


def subscriptions(login: str, prices: list[Decimal], ends: int | None) -> str:
    """Return products of these prices, and that a customer has them; the first one ends after some days."""
    parts = []
    for number, price in enumerate(prices):
        name = f"thing {number} of {login}"
        parts.append(f'[[product]]\nname = "{name}"\nprice = "{price}"\ntaxes = ["iva"]\n')
        parts.append(f'[[subscription]]\nname = "{name}"\ncustomer = "{login}"\nproduct = "{name}"\nstarts = {FIRST}\n')
        if number == 0 and ends is not None:
            parts.append(f"ends = {FIRST + timedelta(days=ends)}\n")
    return "".join(parts)


@BY_CHANCE
@given(
    TYPES,
    st.integers(1, 31),
    st.integers(2, 40),
    st.lists(PRICES, min_size=1, max_size=3),
    st.integers(0, 12_000),
    st.sampled_from(["", 'credit_limit = "5"', 'minimum_balance = "3"']),
    REDUCTIONS,
    st.none() | st.integers(3, 50),
    st.none() | st.integers(1, 40),
    st.none() | st.integers(1, 40),
)
def test_days_left_end_on_the_day_on_which_the_line_rests(
    engine: sqlalchemy.Engine,
    kind: str,
    billing_day: int,
    period_days: int,
    prices: list[Decimal],
    money: int,
    limits: str,
    reduction: str | None,
    ends: int | None,
    fee_on: int | None,
    paused: int | None,
) -> None:
    login = f"w{next(_NUMBERS)}"
    terms = [f"billing_day = {billing_day}", *([limits] if limits else [])]
    if kind == "prepaid-days":
        terms += ['type = "prepaid-period"', f"period_days = {period_days}"]
    else:
        terms.append(f'type = "{kind}"')
    discount = (
        ""
        if reduction is None
        else f'[[discount]]\nname = "of {login}"\ncustomer = "{login}"\nstarts = {FIRST}\n{reduction}\n'
    )
    provide(
        engine, HEAD, PLAN, customer(login, f"billing = {{ {', '.join(terms)} }}"), line(login),
        subscriptions(login, prices, ends), discount if reduction else "",
    )  # fmt: skip
    id_ = int(rows(engine, "SELECT id FROM customer WHERE login = :login", login=login)[0][0])
    with engine.begin() as connection:
        if fee_on is not None:
            gate.charge(connection, id_, "4", FIRST + timedelta(days=fee_on), f"fee/{login}")
        if paused is not None:
            begins = FIRST + timedelta(days=paused)
            collecting.pause(connection, id_, begins, begins + timedelta(days=6), FIRST)
        if money:
            payments.add(connection, Order(id_, money, "cash", login), FIRST)
    bill(engine, FIRST.isoformat(), login)
    with engine.connect() as connection:
        catalogue = Catalogue.read(connection)
        (account,) = accounts.load(connection, [id_], FIRST, catalogue)
        left = wallets.days_left(account, catalogue, FIRST)
    for number in range(1, min(left, LONGEST_DAYS) + 1):
        day = FIRST + timedelta(days=number)
        bill(engine, day.isoformat(), login)
        assert state_of(engine, login) != "no_balance", (number, left)
    # What is left of the days before a pause costs less each day, so whoever could not pay them all may pay the last.
    if left < LONGEST_DAYS and (left or paused in (None, 1)):
        bill(engine, (FIRST + timedelta(days=left + 1)).isoformat(), login)
        # A pause of an account that could not pay before it began costs nothing, and lets nobody in.
        rests = left == 0 and paused == 1
        assert state_of(engine, login) == ("blocked" if rests else "no_balance"), left


STATES = {
    None: "active",
    CollectionAct.SLOW: "slowed",
    CollectionAct.REDIRECT: "redirected",
    CollectionAct.BLOCK: "blocked",
    CollectionAct.DEACTIVATE: "blocked",
}
RULES = st.fixed_dictionaries(
    {"due_days": st.integers(0, 15), "block_after": st.integers(0, 20)},
    optional={
        "slow_after": st.integers(0, 10),
        "redirect_after": st.integers(0, 15),
        "deactivate_after": st.integers(1, 20),
        "late_fee_after": st.integers(0, 10),
        "late_fee": st.just('"2"'),
        "reactivation_fee": st.just('"3"'),
        "minimum_debt": st.just('"5"'),
        "reminders": st.lists(st.integers(0, 9), min_size=1, max_size=3),
        "no_cut_days": st.sampled_from(['"sat,sun"', '"fri-mon"']),
        "holidays": st.just('["2026-01-06", "02-02"]'),
        "dates": st.just("{ block = 2026-02-03 }"),
        "trust_unlock": st.just("{ days = 4, most_per_month = 2 }"),
    },
)
ACTS = st.dictionaries(
    st.integers(1, 60),
    st.one_of(
        st.tuples(st.just("promise"), st.integers(1, 10)),
        st.tuples(st.just("pause"), st.integers(0, 10)),
        st.tuples(st.just("pay"), st.integers(100, 1500)),
        st.tuples(st.just("trust"), st.just(0)),
    ),
    max_size=4,
)


@BY_CHANCE
@given(RULES, ACTS)
def test_the_calendar_that_is_shown_is_what_happens_to_the_line_day_by_day(
    engine: sqlalchemy.Engine, rules: dict[str, Any], acts: dict[int, tuple[str, int]]
) -> None:
    login = f"c{next(_NUMBERS)}"
    terms = ", ".join(f"{key} = {value}" for key, value in rules.items())
    thing = subscriptions(login, [Decimal(10)], None)
    provide(engine, HEAD, PLAN, customer(login, f"billing = {{ {terms} }}"), line(login), thing)
    id_ = int(rows(engine, "SELECT id FROM customer WHERE login = :login", login=login)[0][0])
    bill(engine, FIRST.isoformat(), login)
    with engine.connect() as connection:
        (shown,) = gate.load(connection, [id_], FIRST)
    rests: set[date] = set()
    for number in range(LONGEST_DAYS):
        day = FIRST + timedelta(days=number)
        with engine.begin() as connection:
            gate.look_at_due(connection, day, 10_000)
        expected = "blocked" if day in rests else STATES[standing(shown.steps, day)]
        assert state_of(engine, login) == expected, (day, shown.steps)
        if number in acts:
            rests |= do(engine, login, id_, day, *acts[number])
            with engine.connect() as connection:
                (shown,) = gate.load(connection, [id_], day)
    for kind in ("late-fee", "reactivation-fee"):
        charged = rows(
            engine, "SELECT count(*) FROM one_off WHERE customer_id = :id AND text = :kind", id=id_, kind=kind
        )
        assert charged[0][0] <= 1, "one debt is late once, and blocks once"


def do(engine: sqlalchemy.Engine, login: str, id_: int, day: date, what: str, amount: int) -> set[date]:
    """Do something; return the days on which the lines rest for it."""
    with engine.begin() as connection:
        if what == "promise":
            collecting.promise(connection, id_, day + timedelta(days=amount), day)
        elif what == "pause":
            begins = day + timedelta(days=amount)
            collecting.pause(connection, id_, begins, begins + timedelta(days=5), day)
            return {begins + timedelta(days=number) for number in range(5)}
        elif what == "pay":
            payments.add(connection, Order(id_, amount, "cash", f"{login}/{day}"), day)
    if what == "trust":
        try:
            with engine.begin() as connection:
                collecting.trust(connection, id_, day)
        except collecting.NotTrusted:
            pass
    return set()
