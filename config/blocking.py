"""Decides how is written what a line gets that may not be used: `[isp.blocking]` and `blocking` of a plan.

Rule: one policy, others for single reasons, and the walled garden; a garden must fence in, by an address list, a pool
or a redirection, or the line would have what it always had.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from config import checks
from config.problems import Mistake
from config.rate_change import rates_document, require_rates
from config.table import Table
from domain.plan_rules import Blocking, BlockPolicy, Change, WalledGarden

REASONS = ("blocked", "no_balance", "cap", "unknown", "wrong_password")
FENCES = ("address_list", "pool", "redirect_url")

_URL = re.compile(r"https?://[^\s/]+\S*")
_POLICY = checks.one_of(BlockPolicy)


def read_blocking(table: Table) -> Blocking:
    """Return the blocking that a table describes."""
    by_reason = ((reason, table.take(reason, _POLICY, None)) for reason in REASONS)
    blocking = Blocking(
        policy=table.take("policy", _POLICY, BlockPolicy.REJECT),
        by_reason=tuple((reason, policy) for reason, policy in by_reason if policy is not None),
        garden=WalledGarden(
            address_list=table.take("address_list", checks.name, None),
            pool=table.take("pool", checks.name, None),
            redirect_url=table.take("redirect_url", _url, None),
            download_bits_per_second=table.take("download", checks.rate, None),
            upload_bits_per_second=table.take("upload", checks.rate, None),
        ),
        slow=_slow(table),
    )
    policies = {blocking.policy, *dict(blocking.by_reason).values()}
    if BlockPolicy.WALLED_GARDEN in policies and not table.given(*FENCES):
        table.report(f"lets lines into a walled garden without a fence; it needs one of {checks.listed(FENCES)}")
    table.finish()
    return blocking


def blocking_document(blocking: Blocking) -> dict[str, object]:
    """Return the keys of a blocking."""
    garden = blocking.garden
    values: Mapping[str, object] = {
        "policy": blocking.policy.value,
        **{reason: policy.value for reason, policy in blocking.by_reason},
        "address_list": garden.address_list,
        "pool": garden.pool,
        "redirect_url": garden.redirect_url,
        "download": garden.download_bits_per_second and checks.write_rate(garden.download_bits_per_second),
        "upload": garden.upload_bits_per_second and checks.write_rate(garden.upload_bits_per_second),
    }
    slow = {} if blocking.slow is None else {"slow": rates_document(blocking.slow)}
    return {key: value for key, value in values.items() if value is not None} | slow


def _slow(table: Table) -> Change | None:
    inner = table.table("slow")
    if inner is None:
        return None
    change = require_rates(inner)
    inner.finish()
    return change


def _url(value: object) -> str:
    url = checks.text()(value)
    if not _URL.fullmatch(url):
        raise Mistake(f'must be a URL such as "https://pay.example.net/", not {checks.show(value)}')
    return url
