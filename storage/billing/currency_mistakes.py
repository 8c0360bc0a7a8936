"""Where an ISP file would charge an account in another currency than its own: each at its line.

Rule: it is asked when the file is written and before anything is sold by it. What the file does not hold itself is told
at what it holds of the plan, the partner or the ISP.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy.engine import Connection

from config.isp import Isp
from config.problems import Problems
from config.toml_lines import Path
from storage.billing import currencies
from storage.billing.currencies import Wanted


def report_sellers(connection: Connection, isp: Isp, problems: Problems) -> None:
    """Report that the ISP or partners, before they are written, would have another currency than they began in."""
    refused = None if isp.isp is None else currencies.refused_isp(connection, isp.isp.currency)
    if refused is not None:
        problems.report(("isp", "currency"), refused)
    said = {each.name: each.billing.get("currency") for each in isp.partners}
    wanted = {name: None if currency is None else str(currency) for name, currency in said.items()}
    partners = currencies.refused_partners(connection, wanted) if wanted else {}
    for index, entry in enumerate(isp.partners):
        if entry.name in partners:
            problems.report(("partner", index, "billing"), partners[entry.name])


def report_payers(connection: Connection, isp: Isp, problems: Problems) -> None:
    """Report customers whose things somebody would pay in another currency; their accounts are there already."""
    if not isp.customers or not currencies.are_several(connection):
        return
    refused = currencies.refused_payers(connection, {each.login: each.payer for each in isp.customers})
    for index, entry in enumerate(isp.customers):
        if entry.login in refused:
            problems.report(("customer", index, "payer"), refused[entry.login])


def report_changes(connection: Connection, isp: Isp, problems: Problems) -> None:
    """Report customers whose account has begun in another currency than the file says."""
    said = {each.login: (each.billing or {}).get("currency") for each in isp.customers}
    wanted = {login: str(currency) for login, currency in said.items() if currency is not None}
    if not wanted:
        return
    refused = currencies.refused_changes(connection, wanted)
    for index, entry in enumerate(isp.customers):
        if entry.login in refused:
            problems.report(("customer", index, "billing"), refused[entry.login])


def report_sales(connection: Connection, isp: Isp, problems: Problems, today: date) -> None:
    """Report what is sold, or charged beside it, in another currency than that of the account."""
    if not currencies.are_several(connection):
        return
    lines = {entry.login: index for index, entry in enumerate(isp.services)}
    for login, message in currencies.refused_services(connection, today).items():
        index = lines.get(login)
        place: Path = ("isp",) if index is None else ("service", index, "plan")
        problems.report(place, message if index is not None else f"the service {login} of it: {message}")
    wanted = [
        Wanted(each.code, each.customer, each.product, each.price is not None, each.starts or today)
        for each in isp.subscriptions
    ]
    refused = currencies.refused_sales(connection, wanted)
    for index, subscription in enumerate(isp.subscriptions):
        if subscription.code in refused:
            problems.report(("subscription", index, "product"), refused[subscription.code])
    _report_amounts(connection, isp, problems, today)


def _report_amounts(connection: Connection, isp: Isp, problems: Problems, today: date) -> None:
    customers = {entry.login: index for index, entry in enumerate(isp.customers)}
    partners = {entry.name: index for index, entry in enumerate(isp.partners)}
    for each in currencies.refused_amounts(connection, today):
        place: Path = ("isp", "billing")
        if each.login in customers:
            place = ("customer", customers[each.login], "billing")
        elif each.partner in partners:
            place = ("partner", partners[each.partner], "billing")
        problems.report(place, each.message)
