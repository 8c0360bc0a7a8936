"""What an internet plan says about the network beyond its rates: burst, contention, caps, fair use, hours, top-ups.

Rule: these are values; `config` reads them from TOML, `storage` keeps the same document, `enforcement` decides by them.
Rates are bit/s and octets are the subscriber's; hours of the day are minutes since midnight in the ISP's zone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from domain.tariff import Tariff

MINUTES_IN_A_DAY = 24 * 60
EVERY_DAY = frozenset(range(7))


class Period(Enum):
    """How long usage is added up before it begins again at nothing; the values are the configuration's."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    """From the service's own day of the month, else the first."""
    EVER = "ever"
    """Since the service exists: it never begins again."""


class WeekStart(Enum):
    """The day on which weeks begin; the values are the configuration's."""

    MONDAY = "monday"
    SUNDAY = "sunday"


class Counted(Enum):
    """What a counting window weighs; the values are the configuration's."""

    OCTETS = "octets"
    TIME = "time"
    """Time on line."""
    BOTH = "both"


class Direction(Enum):
    """Which octets count."""

    BOTH = "both"
    DOWN = "down"
    UP = "up"


class ChangeKind(Enum):
    """How a rule changes a rate."""

    FIXED = "fixed"
    PERCENT = "percent"
    BLOCK = "block"


class CapAction(Enum):
    """What happens at 100 % of a cap."""

    BLOCK = "block"
    FIXED = "fixed"
    PERCENT = "percent"
    OVERAGE = "overage"
    """Nothing changes on the line; what is above is charged."""


class TopUpKind(Enum):
    """What a top-up adds."""

    OCTETS = "octets"
    HOURS = "hours"
    """Hours in which the line is as if it were below its cap."""
    BOOST = "boost"
    """Another speed for a while."""


class BlockPolicy(Enum):
    """What a line that may not be used gets."""

    REJECT = "reject"
    WALLED_GARDEN = "walled-garden"


@dataclass(frozen=True, slots=True)
class Window:
    """The minutes [begins, ends) of each of `weekdays` (Monday is 0).

    One that ends at or before its beginning goes on into the next day.
    """

    weekdays: frozenset[int] = EVERY_DAY
    begins: int = 0
    ends: int = MINUTES_IN_A_DAY


@dataclass(frozen=True, slots=True)
class Change:
    """What a rule makes of the rates: FIXED sets what it names, PERCENT scales both (50 halves, 200 doubles)."""

    kind: ChangeKind
    download_bits_per_second: int | None = None
    upload_bits_per_second: int | None = None
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Burst:
    """A fixed limit (bit/s), or one relative to the rate in force (`limit_percent`, 150 is half as much again)."""

    download_bits_per_second: int | None = None
    upload_bits_per_second: int | None = None
    limit_percent: int | None = None
    threshold_percent: int = 80
    seconds: int = 16


@dataclass(frozen=True, slots=True)
class BurstBudget:
    """Octets above the base rate that refill over time; spent, burst goes until `resume_percent` are back."""

    octets: int
    refill_bits_per_second: int
    resume_percent: int = 50


@dataclass(frozen=True, slots=True)
class Rollover:
    """What of an unused cap goes over into the next periods: a share, for so many of them, up to a ceiling."""

    percent: int
    periods: int = 1
    ceiling_octets: int | None = None


@dataclass(frozen=True, slots=True)
class Cap:
    """Octets per period, and what happens when they are used."""

    octets: int
    period: Period = Period.MONTH
    direction: Direction = Direction.BOTH
    action: CapAction = CapAction.BLOCK
    change: Change | None = None
    """For FIXED and PERCENT."""
    bonus_octets: int = 0
    """Used when the cap's own are, before anything happens."""
    rollover: Rollover | None = None
    warn_percents: tuple[int, ...] = (80, 100)
    carries_overage: bool = False
    """What ran over is taken from the cap's own octets of the next periods, until all of it is."""


@dataclass(frozen=True, slots=True)
class Overage:
    """What octets beyond all that may be used cost, and the rates from where they cost nothing more."""

    tariff: Tariff
    at_ceiling: Change | None = None
    warn_percents: tuple[int, ...] = (80, 100)
    """Of the ceiling, where there is one: shares of it at which is warned."""


@dataclass(frozen=True, slots=True)
class AutomaticTopUp:
    """When a top-up is bought unasked, and how often at most in a calendar month, compensation included."""

    trigger_percent: int
    most_per_month: int
    compensate: bool = False
    """Buy as many as what ran over needs."""


@dataclass(frozen=True, slots=True)
class TopUpOffer:
    """Something a subscriber of the plan may buy; `price` is a decimal text in the ISP's currency."""

    name: str
    kind: TopUpKind
    octets: int = 0
    hours: int = 0
    """For HOURS and BOOST."""
    boost: Change | None = None
    price: str = "0"
    valid_days: int | None = None
    """None: until the end of the period in which it was bought."""
    before_plan: bool = False
    """Used before the plan's own octets; else after them."""
    automatic: AutomaticTopUp | None = None


@dataclass(frozen=True, slots=True)
class CountingWindow:
    """What is `counts` inside counts `percent` of itself: 0 is free, 200 double.

    Where windows that weigh the same overlap the first holds.
    """

    window: Window
    percent: int
    counts: Counted = Counted.OCTETS


@dataclass(frozen=True, slots=True)
class FupStep:
    """Above so many octets (or seconds on line) in a period the rates change.

    Of the steps that are reached the one of the highest `precedence` holds, of equal ones the last.
    """

    period: Period
    change: Change
    above_octets: int | None = None
    above_seconds: int | None = None
    direction: Direction = Direction.BOTH
    precedence: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Fup:
    """Fair use: steps, and octets that are forgiven in each period before any step counts."""

    steps: tuple[FupStep, ...]
    bonus_octets: int = 0
    reset_day: int | None = None
    """Day of the month (1-28) on which the month begins for these steps; None: the service's own."""


@dataclass(frozen=True, slots=True)
class ScheduleRule:
    """Other rates inside a window; where windows overlap the first holds."""

    window: Window
    change: Change


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """Traffic that is told apart: by interface list, by a value of Class, or by the name of a RouterOS queue."""

    name: str
    counts: bool
    interface_list: str | None = None
    class_value: str | None = None
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class WalledGarden:
    """Where a line is let in that may not be used: what its router is told; a missing part is left as it is."""

    address_list: str | None = None
    pool: str | None = None
    redirect_url: str | None = None
    download_bits_per_second: int | None = None
    upload_bits_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Blocking:
    """What happens to blocked lines: per reason, else `policy`.

    Reasons: blocked, no_balance, cap, unknown, wrong_password.
    """

    policy: BlockPolicy = BlockPolicy.REJECT
    by_reason: tuple[tuple[str, BlockPolicy], ...] = ()
    garden: WalledGarden = field(default_factory=WalledGarden)
    slow: Change | None = None
    """The rates of a line that a debt slows."""

    def of(self, reason: str) -> BlockPolicy:
        """Return the policy for `reason`."""
        return dict(self.by_reason).get(reason, self.policy)


@dataclass(frozen=True, slots=True)
class PlanRules:
    """The network half of a plan; the empty one says nothing beyond the plan's rates."""

    guaranteed_percent: int | None = None
    priority: int | None = None
    """1 (high) to 8."""
    aggregation: int | None = None
    """N of 1:N: so many lines share what one of them may use."""
    burst: Burst | None = None
    burst_budget: BurstBudget | None = None
    allowed_hours: tuple[Window, ...] = ()
    """Empty: always."""
    address_list: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    """Reply attributes of the plan's own: name and sandboxed template."""
    partners: tuple[str, ...] = ()
    cap: Cap | None = None
    overage: Overage | None = None
    """For a cap whose action is OVERAGE; None: what is beyond it is shown, and costs nothing."""
    top_ups: tuple[TopUpOffer, ...] = ()
    counting: tuple[CountingWindow, ...] = ()
    week_starts: WeekStart = WeekStart.MONDAY
    """When the weeks of cap and fair use begin."""
    fup: Fup | None = None
    schedule: tuple[ScheduleRule, ...] = ()
    classes: tuple[TrafficClass, ...] = ()
    blocking: Blocking | None = None
    """None: the ISP's."""
    disconnect_unproven_seconds: int | None = None
    """A line that was not proven to obey for so long is disconnected; None: only listed."""

    def counts(self, traffic_class: int) -> bool:
        """Tell whether traffic of a class counts: the n-th of `classes`; any other number is not told apart."""
        return not 0 < traffic_class <= len(self.classes) or self.classes[traffic_class - 1].counts

    @property
    def weighing_octets(self) -> tuple[CountingWindow, ...]:
        """The windows by which octets are weighed."""
        return tuple([each for each in self.counting if each.counts is not Counted.TIME])

    @property
    def weighing_time(self) -> tuple[CountingWindow, ...]:
        """The windows by which time on line is weighed."""
        return tuple([each for each in self.counting if each.counts is not Counted.OCTETS])

    def uses(self, period: Period) -> bool:
        """Tell whether the cap or a step of fair use adds up usage over `period`."""
        steps = () if self.fup is None else self.fup.steps
        return any(each.period is period for each in steps) or (self.cap is not None and self.cap.period is period)

    @property
    def counts_time(self) -> bool:
        """Tell whether a step of fair use is about time on line."""
        return self.fup is not None and any(step.above_seconds is not None for step in self.fup.steps)

    @property
    def shares_ceiling(self) -> bool:
        """Tell whether periods of the cap share the ceiling of overage, which is of a month."""
        if self.cap is None or self.overage is None or self.overage.tariff.ceiling is None:
            return False
        return self.cap.period in (Period.DAY, Period.WEEK)

    @property
    def depends_on_usage(self) -> bool:
        """Tell whether what a line may do depends on what it used."""
        return self.cap is not None or self.fup is not None or self.burst_budget is not None

    @property
    def changes_by_itself(self) -> bool:
        """Tell whether what a line may do can change while nobody changes its plan or service."""
        return self.depends_on_usage or bool(self.schedule or self.allowed_hours or self.top_ups)


NO_RULES = PlanRules()
