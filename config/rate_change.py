"""Decides how a rule says what it makes of the rates: `download` and `upload`, or `percent`.

Rule: fixed rates or a percentage, never both; `action` says it in a word and may be left out where the keys say it.
"""

from __future__ import annotations

from config import checks
from config.table import Table
from domain.plan_rules import Cap, CapAction, Change, ChangeKind

GREATEST_PERCENT = 1000
PERCENT = checks.integer(1, GREATEST_PERCENT, "percent")

_BLOCK = Change(ChangeKind.BLOCK)
_OF_CAP = {CapAction.FIXED: ChangeKind.FIXED, CapAction.PERCENT: ChangeKind.PERCENT}
_NEEDED = {ChangeKind.FIXED: "needs download or upload", ChangeKind.PERCENT: "needs percent"}


def read_rates(table: Table) -> Change | None:
    """Return the fixed rates or the percentage of a table, None where it has neither."""
    download = table.take("download", checks.rate, None)
    upload = table.take("upload", checks.rate, None)
    percent = table.take("percent", PERCENT, 100)
    fixed = table.given("download", "upload")
    if "percent" in table.values:
        if fixed:
            table.report(f"cannot stand beside {fixed[0]}", "percent")
        return Change(ChangeKind.PERCENT, percent=percent)
    return Change(ChangeKind.FIXED, download, upload) if fixed else None


def require_rates(table: Table) -> Change:
    """Return the fixed rates or the percentage of a table that must have them."""
    change = read_rates(table)
    if change is None:
        table.report("needs download, upload or percent")
    return change or _BLOCK


def read_change(table: Table) -> Change:
    """Return what a table does to the rates: its action, or what its keys say."""
    action = table.take("action", checks.one_of(ChangeKind), None)
    change = read_rates(table)
    if action is not None:
        _agree(table, action, change)
    elif change is None and "action" not in table.values:
        table.report('needs download, upload, percent or action = "block"')
    return change or _BLOCK


def read_cap_action(table: Table) -> tuple[CapAction, Change | None]:
    """Return what a cap does when it is used up, and to which rates."""
    action = table.take("action", checks.one_of(CapAction), None)
    change = read_rates(table)
    if action is None:
        return (CapAction.BLOCK, None) if change is None else (CapAction(change.kind.value), change)
    _agree(table, _OF_CAP.get(action, ChangeKind.BLOCK), change)
    return action, change


def rates_document(change: Change) -> dict[str, object]:
    """Return the keys of fixed rates or of a percentage."""
    if change.kind is ChangeKind.PERCENT:
        return {"percent": change.percent}
    rates = {"download": change.download_bits_per_second, "upload": change.upload_bits_per_second}
    return {key: checks.write_rate(rate) for key, rate in rates.items() if rate is not None}


def change_document(change: Change) -> dict[str, object]:
    """Return the keys of a change, its action first."""
    return {"action": change.kind.value, **rates_document(change)}


def cap_action_document(cap: Cap) -> dict[str, object]:
    """Return the keys of what a cap does."""
    return {"action": cap.action.value, **(rates_document(cap.change) if cap.change else {})}


def _agree(table: Table, action: ChangeKind, change: Change | None) -> None:
    """Report where the action says one thing and the keys beside it another."""
    wanted = None if action is ChangeKind.BLOCK else action
    if wanted is (change.kind if change else None):
        return
    for key in table.given("download", "upload", "percent"):
        table.report(f"cannot stand beside action = {checks.show(table.values['action'])}", key)
    if change is None and wanted is not None:
        table.report(_NEEDED[wanted], "action")
