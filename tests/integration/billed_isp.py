"""A small ISP that is billed in a real database, and what the tests ask of it."""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy
from sqlalchemy import text

from config.provisioning import read
from storage.billing import ledger, numbers, run
from storage.billing.run import Progress
from storage.provisioning import ApplyReport, apply
from storage.vault import Vault

VAULT = Vault(bytes(range(32)))
HEAD = """
[isp]
name = "Valdelagua"
timezone = "Europe/Madrid"
billing = { due_days = 15 }
[[tax]]
code = "iva"
percent = "21"
[[product]]
name = "television"
price = "10"
taxes = ["iva"]
[[product]]
name = "rent"
price = "4.90"
taxes = ["iva"]
"""


def customer(login: str, *more: str) -> str:
    """Return a customer; `more` are further lines."""
    return "\n".join((f'[[customer]]\nlogin = "{login}"\nname = "{login.title()}"', *more, ""))


def sold(login: str, product: str, starts: str, *more: str, name: str | None = None) -> str:
    """Return a subscription of a customer from a day on."""
    lines = (
        "[[subscription]]",
        f'name = "{name or f"{product} of {login}"}"',
        f'customer = "{login}"',
        f'product = "{product}"',
        f"starts = {starts}",
        *more,
        "",
    )
    return "\n".join(lines)


def provide(engine: sqlalchemy.Engine, *parts: str) -> ApplyReport:
    """Apply a file."""
    return apply(engine, VAULT, read("\n".join(parts), "isp.toml"))


def bill(engine: sqlalchemy.Engine, on: str, login: str | None = None) -> Progress:
    """Run, and number what was made; with a login bill that account alone, due or not."""
    day = date.fromisoformat(on)
    if login is not None:
        customer_id = rows(engine, "SELECT id FROM customer WHERE login = :login", login=login)[0][0]
        with engine.begin() as connection:
            return run.bill_one(connection, customer_id, day)
    progress = run.bill_due(engine, day)
    numbers.number_waiting(engine, day)
    return progress


def let_it_be(engine: sqlalchemy.Engine, instant: str) -> None:
    """Let it be that instant for billing, written as 2023-03-01T05:00Z, wherever the real clock is."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM test_clock"))
        connection.execute(
            text("INSERT INTO test_clock (ahead) VALUES (CAST(:now AS timestamptz) - clock_timestamp())"),
            {"now": instant},
        )


def rows(engine: sqlalchemy.Engine, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query), parameters)]


def documents(engine: sqlalchemy.Engine, login: str) -> list[tuple[Any, ...]]:
    """Return kind, number, net, tax, gross and what is open of the documents of a customer."""
    return rows(
        engine,
        """SELECT d.kind, d.number, d.net, d.tax, d.gross, d.open_amount FROM document AS d
        JOIN customer AS c ON c.id = d.customer_id WHERE c.login = :login ORDER BY d.id""",
        login=login,
    )


def assert_books_are_right(engine: sqlalchemy.Engine) -> None:
    """Compute everything anew."""
    assert ledger.check_books(engine) == []
