"""What operators order about collections: promises to pay, days on which a line rests, days on trust.

Rule: an order is stored and the lines follow it in one transaction; what was ordered is never deleted.
"""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import text
from sqlalchemy.engine import Connection

from storage.billing import gate
from storage.errors import OrderRefused


class NotTrusted(OrderRefused):
    """An account gets no days on trust now."""


def promise(connection: Connection, customer_id: int, until: date | None, today: date, made_by: str = "") -> None:
    """Hold cuts off through `until`, in place of what was promised before; None: nothing is promised any more."""
    _lock(connection, customer_id)
    connection.execute(
        text("UPDATE promise SET withdrawn_at = now() WHERE customer_id = :customer AND withdrawn_at IS NULL"),
        {"customer": customer_id},
    )
    if until is not None:
        connection.execute(
            text("""INSERT INTO promise (customer_id, until, made_on, made_by)
                VALUES (:customer, :until, :today, :by)"""),
            {"customer": customer_id, "until": until, "today": today, "by": made_by},
        )
    gate.reassess(connection, [customer_id], today)


def pause(connection: Connection, customer_id: int, starts: date, ends: date | None, today: date) -> None:
    """Let an account rest on the days [starts, ends); what was charged for them is credited by the next run."""
    _lock(connection, customer_id)
    connection.execute(
        text("INSERT INTO rest (customer_id, cause, starts, ends) VALUES (:customer, 'vacation', :starts, :ends)"),
        {"customer": customer_id, "starts": starts, "ends": ends},
    )
    _look_again(connection, customer_id, starts, today)


def resume(connection: Connection, customer_id: int, on: date, today: date) -> None:
    """End the pause of an account on a day, and take back pauses that would begin later. Raise OrderRefused."""
    _lock(connection, customer_id)
    changed = connection.scalars(
        text("""UPDATE rest SET ends = greatest(starts, :on)
            WHERE customer_id = :customer AND cause = 'vacation' AND coalesce(ends > :on, true) AND ends IS DISTINCT
                FROM starts RETURNING starts"""),
        {"customer": customer_id, "on": on},
    ).all()
    if not changed:
        raise OrderRefused(f"this account has no pause that goes on beyond {on}; see `caudal account pause`")
    _look_again(connection, customer_id, on, today)


def set_active(connection: Connection, customer_id: int, is_active: bool, today: date) -> None:
    """Give a customer up, or take it back: what is inactive is neither billed nor let in, and pays for none of it."""
    payer = connection.execute(
        text("SELECT coalesce(payer_id, id) FROM customer WHERE id = :id"), {"id": customer_id}
    ).scalar_one()
    _lock(connection, payer)
    changed = connection.execute(
        text("""UPDATE account SET state = :state, next_bill_on = :today, next_look_on = :today
            WHERE customer_id = :id AND (state = 'inactive') = :active RETURNING customer_id"""),
        {"state": "active" if is_active else "inactive", "id": customer_id, "today": today, "active": is_active},
    ).one_or_none()
    if changed is None:
        state = "active" if is_active else "inactive"
        raise OrderRefused(f"this customer is {state} already, or nothing was ever sold to it")
    gate.reassess(connection, sorted({payer, customer_id}), today)
    if payer != customer_id:
        _look_again(connection, payer, today, today)


def trust(connection: Connection, customer_id: int, today: date, made_by: str = "") -> date:
    """Let a line in on trust; return the last day. Raise NotTrusted."""
    _lock(connection, customer_id)
    (standing,) = gate.load(connection, [customer_id], today)
    terms = standing.terms.trust_unlock
    if terms is None:
        raise NotTrusted("this account gets no days on trust; set trust_unlock in its billing terms")
    if standing.trusted_until:
        raise NotTrusted("this account is trusted already; see `caudal calendar`")
    if standing.state == "inactive" or not gate.is_cut(standing, today):
        why = "is given up" if standing.state == "inactive" else "is not cut"
        raise NotTrusted(f"this account {why}, so days on trust would change nothing; see `caudal account show`")
    month = today.replace(day=1)
    given = connection.scalar(
        text("SELECT count(*) FROM trust_unlock WHERE customer_id = :customer AND from_day >= :month"),
        {"customer": customer_id, "month": month},
    )
    if int(given or 0) >= terms.most_per_month:
        raise NotTrusted(f"this account was trusted {given} times this month, which is all that its terms allow")
    until = today + timedelta(days=terms.days - 1)
    connection.execute(
        text("""INSERT INTO trust_unlock (customer_id, from_day, until, made_by)
            VALUES (:customer, :today, :until, :by)"""),
        {"customer": customer_id, "today": today, "until": until, "by": made_by},
    )
    if terms.price:
        gate.charge(connection, customer_id, terms.price, today, f"trust-unlock/{customer_id}/{today}")
    gate.reassess(connection, [customer_id], today)
    return until


def _look_again(connection: Connection, customer_id: int, since: date, today: date) -> None:
    """Let the next run bill what an account pays for anew from a day on, and the lines follow."""
    connection.execute(
        text("""UPDATE subscription AS s SET revised_from = least(s.revised_from, :since)
            FROM customer AS c WHERE c.id = s.customer_id AND coalesce(c.payer_id, c.id) = :customer"""),
        {"customer": customer_id, "since": since},
    )
    connection.execute(
        text("""UPDATE account SET next_bill_on = least(next_bill_on, :today), next_look_on = :today
            WHERE customer_id = :customer"""),
        {"customer": customer_id, "today": today},
    )
    gate.reassess(connection, [customer_id], today)


def _lock(connection: Connection, customer_id: int) -> None:
    """Hold the row of an account. Raise OrderRefused where there is none."""
    query = text("SELECT customer_id FROM account WHERE customer_id = :id FOR UPDATE")
    if connection.scalar(query, {"id": customer_id}) is None:
        raise OrderRefused("nothing was ever sold to this customer, so there is no account; see `caudal subscription`")
