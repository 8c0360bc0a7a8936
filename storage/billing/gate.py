"""Whether accounts are served: what collections and wallets say of the lines of customers.

Rule: the state is computed anew from what is open, whatever happened before, by the one calendar of collections; a line
whose state changes is told to enforcement in the same transaction. Reminders and fees are done once, by their keys. The
caller holds the rows of the accounts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.collections import Debt, Situation, Step, after_trust, calendar, next_step, standing
from billing.generation import ONE_OFF
from config import billing_terms
from domain.billing_terms import BillingTerms, CollectionAct
from domain.money import minor_units, rounded
from domain.network import AccountState
from storage import overrides
from storage.billing import coming_changes

_NOTED = (CollectionAct.REMINDER, CollectionAct.LATE_FEE, CollectionAct.BLOCK)
"""What is done, or noted, once for each document."""
_STATES = {
    None: AccountState.ACTIVE,
    CollectionAct.SLOW: AccountState.SLOWED,
    CollectionAct.REDIRECT: AccountState.REDIRECTED,
    CollectionAct.BLOCK: AccountState.BLOCKED,
    CollectionAct.DEACTIVATE: AccountState.BLOCKED,
}


@dataclass(slots=True)
class Standing:
    """What is known of an account's debts."""

    customer_id: int
    terms: BillingTerms
    state: str
    out_of_balance: bool
    trusted_until: date | None
    """The last day on trust, if it is not over."""
    gave_up: bool
    """Whether it is inactive for a debt, and not by an order."""
    situation: Situation
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder that is to be sent."""

    customer_id: int
    document_id: int
    number: int


def load(connection: Connection, customer_ids: Sequence[int], today: date) -> list[Standing]:
    """Return how accounts stand, with their calendars."""
    ids = {"ids": [*customer_ids], "today": today}
    debts: dict[int, list[Debt]] = defaultdict(list)
    proformas: set[int] = set()
    for customer_id, is_proforma, *debt in connection.execute(text(_DEBTS), ids):
        debts[customer_id].append(Debt(*debt))
        proformas |= {customer_id} if is_proforma else set()
    for customer_id, credit in connection.execute(text(_CREDIT), {"ids": sorted(proformas)}) if proformas else ():
        debts[customer_id] = _less(debts[customer_id], credit)
    return [_standing(row, debts.get(row.customer_id, [])) for row in connection.execute(text(_ACCOUNTS), ids)]


def _less(debts: Iterable[Debt], credit: int) -> list[Debt]:
    """Return debts without what waits as credit to pay them, the oldest first."""
    left = []
    for debt in debts:
        taken = min(credit, debt.amount)
        credit -= taken
        left.append(debt._replace(amount=debt.amount - taken))
    return left


def _standing(row: Any, debts: list[Debt]) -> Standing:
    terms = billing_terms.resolve(row.isp, row.partner, row.terms, currency=row.currency)
    minimum = rounded(minor_units(terms.collection.minimum_debt, terms.currency))
    situation = Situation(debts, row.promised, minimum)
    steps = [] if terms.billing.is_prepaid else calendar(terms.collection, situation)
    if row.trusted_until is not None:
        steps = after_trust(steps, row.trusted_until)
    return Standing(
        row.customer_id, terms, row.state, row.out_of_balance, row.trusted_until, row.gave_up, situation, steps
    )


def reassess(connection: Connection, customer_ids: Sequence[int], today: date) -> list[Reminder]:
    """Bring the lines of accounts to what is owed today; do what is due, and return the reminders to send."""
    coming_changes.follow_due(connection, customer_ids, today)
    found = load(connection, customer_ids, today)
    reminders = [reminder for each in found for reminder in _do_steps(connection, each, today)]
    acts = {each.customer_id: standing(each.steps, today) for each in found}
    _take_back(connection, [each for each in found if each.gave_up and acts[each.customer_id] is None], today)
    states = {each.customer_id: _line_state(each, acts[each.customer_id]) for each in found}
    services = connection.execute(text(_SERVICES), {"ids": list(states), "today": today})
    overrides.set_billing_state(
        connection, {row.id: states[row.payer] if row.is_sold else AccountState.BLOCKED for row in services}
    )
    _move_accounts(connection, found, acts, today)
    _rest_inactive(connection, list(states), today)
    return reminders


def _take_back(connection: Connection, paid: Sequence[Standing], today: date) -> None:
    """Let those be served and billed again from today who were given up for a debt that is paid."""
    if not paid:
        return
    for each in paid:
        each.state = "blocked"
    connection.execute(
        text(f"UPDATE account SET state = 'blocked', next_bill_on = :today WHERE customer_id {_AMONG}"),
        {"ids": [each.customer_id for each in paid], "today": today},
    )


def is_cut(each: Standing, today: date) -> bool:
    """Tell whether anything of an account is cut for a debt or an empty wallet."""
    return each.out_of_balance or standing(each.steps, today) is not None


def _line_state(each: Standing, act: CollectionAct | None) -> AccountState:
    if each.state == "inactive":
        return AccountState.BLOCKED
    if each.out_of_balance and not each.trusted_until:
        return AccountState.NO_BALANCE
    return _STATES[act]


def _do_steps(connection: Connection, each: Standing, today: date) -> Iterable[Reminder]:
    """Yield reminders that are due and were not sent; charge the fees that are due; note that a debt blocks."""
    if not each.situation.debts:
        return
    document_id = min(each.situation.debts, key=lambda debt: (debt.due_on, debt.document_id)).document_id
    for step in each.steps:
        if step.on > today or step.act not in _NOTED:
            continue
        if not _is_new(connection, each.customer_id, document_id, step):
            continue
        if step.act is CollectionAct.LATE_FEE:
            charge(connection, each.customer_id, each.terms.collection.late_fee, today, f"late-fee/{document_id}")
        elif step.act is CollectionAct.REMINDER:
            yield Reminder(each.customer_id, document_id, step.number)


def _is_new(connection: Connection, customer_id: int, document_id: int, step: Step) -> bool:
    done = connection.execute(
        text("""INSERT INTO collection_step (customer_id, document_id, kind, number, due_on)
            VALUES (:customer, :document, :kind, :number, :on) ON CONFLICT DO NOTHING RETURNING id"""),
        {
            "customer": customer_id,
            "document": document_id,
            "kind": step.act.value,
            "number": step.number,
            "on": step.on,
        },
    )
    return done.first() is not None


def charge(connection: Connection, customer_id: int, amount: object, on: date, key: str) -> None:
    """Put a fee on the next document, once for each key; it is sold as the product `fee`."""
    connection.execute(
        text("""WITH p AS (
                INSERT INTO product AS p (code, kind, document) VALUES ('fee', 'one-time', '{}')
                ON CONFLICT (code) DO UPDATE SET code = p.code RETURNING id
            )
            INSERT INTO one_off (customer_id, product_id, on_day, unit_price, text, key)
            SELECT :customer, p.id, :on, :amount, :text, :key FROM p ON CONFLICT (key) DO NOTHING"""),
        {"customer": customer_id, "on": on, "amount": amount, "text": key.partition("/")[0], "key": key},
    )


def _move_accounts(
    connection: Connection, found: Sequence[Standing], acts: Mapping[int, CollectionAct | None], today: date
) -> None:
    rows = []
    for each in found:
        following = next_step(each.steps, today)
        state = each.state
        act = acts[each.customer_id]
        if state in ("active", "blocked"):
            state = "blocked" if act in (CollectionAct.BLOCK, CollectionAct.DEACTIVATE) else "active"
        if act is CollectionAct.DEACTIVATE and state != "inactive":
            state = "inactive"
            connection.execute(text(_GIVING_UP), {"customer": each.customer_id, "today": today})
        if state == "active" and each.state == "blocked" and each.terms.collection.reactivation_fee:
            key = f"reactivation-fee/{_blocking(connection, each.customer_id) or f'{each.customer_id}/{today}'}"
            charge(connection, each.customer_id, each.terms.collection.reactivation_fee, today, key)
        looks = [following.on] if following is not None else []
        if each.trusted_until is not None:
            # Whatever happens until then, trust ends.
            looks.append(each.trusted_until + timedelta(days=1))
        rows.append((each.customer_id, state, min(looks, default=None)))
    connection.execute(
        text(f"""UPDATE account AS a SET state = u.state, next_look_on = least(u.next_on, ({_TURNS})),
                next_bill_on = CASE WHEN EXISTS (
                    SELECT FROM one_off AS o WHERE o.customer_id = a.customer_id AND NOT o.billed
                        AND o.withdrawn_at IS NULL
                ) THEN least(a.next_bill_on, :today) ELSE a.next_bill_on END
            FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:days AS date[])) AS u(id, state, next_on)
            WHERE a.customer_id = u.id"""),
        {
            "ids": [row[0] for row in rows],
            "states": [row[1] for row in rows],
            "days": [row[2] for row in rows],
            "today": today,
        },
    )


def _blocking(connection: Connection, customer_id: int) -> int | None:
    """Return what blocked a customer the last time; who was let in on trust is blocked again by the same."""
    found: int | None = connection.scalar(
        text("SELECT max(id) FROM collection_step WHERE customer_id = :id AND kind = 'block'"), {"id": customer_id}
    )
    return found


def _rest_inactive(connection: Connection, payer_ids: Sequence[int], today: date) -> None:
    """Let nothing be charged for the days on which customers are inactive, also not when they come back."""
    given = {"ids": [*payer_ids], "today": today}
    connection.execute(text(_RESTING), given)
    back = connection.execute(text(_BACK), given).all()
    connection.execute(
        text("""UPDATE subscription AS s SET revised_from = least(s.revised_from, u.since)
            FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS u(id, since)
            JOIN customer AS c ON u.id IN (c.id, c.payer_id) WHERE s.customer_id = c.id"""),
        {"ids": [row.customer_id for row in back], "days": [row.starts for row in back]},
    )


def look_at_due(connection: Connection, today: date, limit: int) -> tuple[int, list[Reminder]]:
    """Reassess some accounts whose day has come; return how many there were, and the reminders to send."""
    ids = list(
        connection.scalars(
            text("""SELECT customer_id FROM account WHERE next_look_on <= :today
                ORDER BY customer_id LIMIT :limit FOR UPDATE SKIP LOCKED"""),
            {"today": today, "limit": limit},
        )
    )
    return len(ids), reassess(connection, ids, today) if ids else []


_RESTING = """INSERT INTO rest (customer_id, cause, starts)
    SELECT a.customer_id, 'given_up', :today FROM customer AS c JOIN account AS a ON a.customer_id = c.id
    WHERE coalesce(c.payer_id, c.id) = ANY(CAST(:ids AS bigint[])) AND a.state = 'inactive' AND NOT EXISTS (
        SELECT FROM rest AS r WHERE r.customer_id = c.id AND r.cause IN ('debt', 'given_up') AND r.ends IS NULL)"""
_GIVING_UP = "INSERT INTO rest (customer_id, cause, starts) VALUES (:customer, 'debt', :today)"
_BACK = """UPDATE rest AS r SET ends = greatest(r.starts, :today)
    FROM account AS a JOIN customer AS c ON c.id = a.customer_id
    WHERE r.customer_id = a.customer_id AND coalesce(c.payer_id, c.id) = ANY(CAST(:ids AS bigint[]))
        AND a.state <> 'inactive' AND r.cause IN ('debt', 'given_up') AND r.ends IS NULL
    RETURNING r.customer_id, r.starts"""
_AMONG = "= ANY(CAST(:ids AS bigint[]))"
_ACCOUNTS = f"""SELECT a.customer_id, a.currency, a.terms || jsonb_build_object('type', a.billing) AS terms, a.state,
        r.document AS partner, i.billing AS isp,
        (SELECT max(until) FROM promise AS p WHERE p.customer_id = a.customer_id AND p.withdrawn_at IS NULL)
            AS promised,
        EXISTS (SELECT FROM rest AS x WHERE x.customer_id = a.customer_id AND x.cause = 'no_balance'
            AND x.starts <= :today AND x.ends IS NULL) AS out_of_balance,
        (a.state = 'inactive' AND EXISTS (SELECT FROM rest AS x WHERE x.customer_id = a.customer_id
            AND x.cause = 'debt' AND x.ends IS NULL)) AS gave_up,
        (SELECT max(until) FROM trust_unlock AS t WHERE t.customer_id = a.customer_id
            AND t.from_day <= :today AND t.until >= :today) AS trusted_until
    FROM account AS a JOIN customer AS c ON c.id = a.customer_id JOIN partner AS r ON r.id = c.partner_id
        CROSS JOIN isp AS i
    WHERE a.customer_id {_AMONG}"""
_DEBTS = f"""SELECT customer_id, kind = 'proforma', id, due_on, open_amount, dated,
        EXISTS (SELECT FROM document_line AS l WHERE l.document_id = d.id AND NOT starts_with(l.component, '{ONE_OFF}'))
    FROM document AS d
    WHERE customer_id {_AMONG} AND kind IN ('invoice', 'proforma') AND open_amount > 0 AND due_on IS NOT NULL
    ORDER BY due_on, id"""
_CREDIT = f"""SELECT customer_id, sum(amount)::bigint FROM (
        SELECT customer_id, unused AS amount FROM payment WHERE customer_id {_AMONG} AND unused > 0
        UNION ALL
        SELECT customer_id, open_amount FROM document
            WHERE customer_id {_AMONG} AND kind = 'credit-note' AND open_amount > 0
    ) AS each GROUP BY 1"""
_SERVICES = f"""SELECT s.id, coalesce(c.payer_id, c.id) AS payer,
        (a.state IS DISTINCT FROM 'inactive' AND coalesce(x.last IN ('start', 'resume'), x.id IS NULL)
            AND NOT EXISTS (SELECT FROM rest AS r WHERE r.customer_id IN (c.id, c.payer_id) AND r.cause = 'vacation'
                AND r.starts <= :today AND coalesce(r.ends > :today, true))) AS is_sold
    FROM customer AS c JOIN service AS s ON s.customer_id = c.id LEFT JOIN account AS a ON a.customer_id = c.id
    LEFT JOIN LATERAL (
        SELECT x.id, (SELECT e.kind FROM subscription_event AS e WHERE e.subscription_id = x.id
            AND e.cancelled_at IS NULL AND e.kind <> 'change' AND e.on_day <= :today
            ORDER BY e.on_day DESC, e.id DESC LIMIT 1) AS last
        FROM subscription AS x WHERE x.service_id = s.id AND x.code IS NULL ORDER BY x.id DESC LIMIT 1
    ) AS x ON true
    WHERE coalesce(c.payer_id, c.id) {_AMONG} ORDER BY s.id"""
_TURNS = """SELECT min(turn.on_day) FROM customer AS c CROSS JOIN LATERAL (
        SELECT e.on_day FROM subscription AS s JOIN subscription_event AS e ON e.subscription_id = s.id
        WHERE s.customer_id = c.id AND e.cancelled_at IS NULL
            AND (e.waits OR (s.service_id IS NOT NULL AND s.code IS NULL AND e.kind <> 'change'))
        UNION ALL
        SELECT unnest(ARRAY[r.starts, r.ends]) FROM rest AS r WHERE r.customer_id = c.id AND r.cause = 'vacation'
    ) AS turn
    WHERE (c.id = a.customer_id OR c.payer_id = a.customer_id) AND turn.on_day > :today"""
"""The next day on which the sale of a line begins, rests, goes on or ends, or something becomes another product."""
