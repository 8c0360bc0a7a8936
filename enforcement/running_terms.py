"""What the rules have made of a line so far, and what would change it.

Rule: each rule changes what the weaker ones left, and notes the octets and the moment that would change what it said;
of these the nearest counts.
"""

from __future__ import annotations

from datetime import datetime

from domain.plan_rules import Change, Direction
from enforcement.explanation import Applied, Effect, Numbers, Rule
from enforcement.periods import NEVER
from enforcement.prepared_plan import PreparedPlan
from enforcement.rate_changes import changed, lower, rate_numbers
from enforcement.standing import Standing
from enforcement.terms import Refusal


class RunningTerms:
    """One computation, as far as it has come: it begins with the plan."""

    __slots__ = (
        "_applied", "_burst_stopped", "_ceiling_warnings", "_direction", "_download", "_ends_at", "_left", "_now",
        "_overage", "_prepared", "_redirected", "_refusal", "_standing", "_until", "_upload", "_warnings",
    )  # fmt: skip

    def __init__(self, prepared: PreparedPlan, standing: Standing, now: datetime) -> None:
        plan = prepared.plan
        self._prepared = prepared
        self._standing = standing
        self._now = now
        self._download = plan.download_bits_per_second
        self._upload = plan.upload_bits_per_second
        self._refusal: Refusal | None = None
        self._applied = [prepared.plan_applied]
        self._until = NEVER
        self._ends_at = NEVER
        self._left: int | None = None
        self._direction = Direction.BOTH
        self._overage = 0
        self._warnings: tuple[int, ...] = ()
        self._ceiling_warnings: tuple[int, ...] = ()
        self._burst_stopped = False
        self._redirected = False

    def _change_at(self, moment: datetime, rule: Rule, name: str) -> None:  # noqa: ARG002 - for the outlook
        if moment < self._until:
            self._until = moment

    def _change_after(self, octets: int, direction: Direction, rule: Rule, name: str) -> None:  # noqa: ARG002 - likewise
        """Note that `octets` more, as they are sent, may change something: waking early is harmless, late is not."""
        if self._left is None:
            self._left, self._direction = octets, direction
            return
        if direction is not self._direction:
            self._direction = Direction.BOTH
        self._left = min(self._left, octets)

    def _weighed(self, octets: int) -> int:
        """Return how many octets surely weigh no more than `octets`; at least one, so that time goes on."""
        return max(1, octets * 100 // self._prepared.weight)

    def _apply(self, rule: Rule, name: str, numbers: Numbers, effect: Effect) -> None:
        self._applied.append(Applied(rule, name, numbers, effect))

    def _sets(self, rule: Rule, name: str, numbers: Numbers) -> None:
        self._apply(rule, name, numbers + rate_numbers(self._download, self._upload), Effect.SETS)

    def _slow(self, change: Change, *, may_raise: bool = False) -> None:
        download = changed(self._download, change, change.download_bits_per_second)
        upload = changed(self._upload, change, change.upload_bits_per_second)
        self._download = download if may_raise else lower(self._download, download)
        self._upload = upload if may_raise else lower(self._upload, upload)
