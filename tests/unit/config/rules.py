"""Rules of plans by chance: everything that a `[[plan]]` can say by itself."""

from __future__ import annotations

from hypothesis import strategies as st

from config.blocking import REASONS
from domain.plan_rules import (
    AutomaticTopUp,
    Blocking,
    BlockPolicy,
    Burst,
    BurstBudget,
    Cap,
    CapAction,
    Change,
    ChangeKind,
    Counted,
    CountingWindow,
    Direction,
    Fup,
    FupStep,
    Period,
    PlanRules,
    Rollover,
    ScheduleRule,
    TopUpKind,
    TopUpOffer,
    TrafficClass,
    WalledGarden,
    WeekStart,
    Window,
)

_octets = st.integers(1, 10**18)
_rates = st.integers(1, 10**12)
_percents = st.integers(1, 100)
_words = st.text("abñ 中{}\"\\'.-", min_size=1, max_size=12).map(str.strip).filter(bool)
_templates = st.sampled_from(["{login}", "a {download} {{b}}", "{upload_kbit}", "7", "ñ\t\\"])


def _rate_pairs() -> st.SearchStrategy[tuple[int | None, int | None]]:
    return st.tuples(st.none() | _rates, st.none() | _rates).filter(any)


def windows() -> st.SearchStrategy[Window]:
    """Return windows of the week."""
    return st.builds(Window, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(1, 1440))


def rate_changes() -> st.SearchStrategy[Change]:
    """Return changes that leave a line its rates."""
    fixed = _rate_pairs().map(lambda rates: Change(ChangeKind.FIXED, *rates))
    return fixed | st.integers(1, 1000).map(lambda percent: Change(ChangeKind.PERCENT, percent=percent))


def blockings() -> st.SearchStrategy[Blocking]:
    """Return blockings, each with a fence."""
    garden = st.builds(
        WalledGarden,
        _words,
        st.none() | _words,
        st.none() | st.just("https://pay.example.net/?a=b"),
        st.none() | _rates,
        st.none() | _rates,
    )
    policies = st.sampled_from(BlockPolicy)
    reasons = st.dictionaries(st.sampled_from(REASONS), policies).map(
        lambda found: tuple((reason, found[reason]) for reason in REASONS if reason in found)
    )
    return st.builds(Blocking, policies, reasons, garden)


def plan_rules() -> st.SearchStrategy[PlanRules]:
    """Return rules of plans."""
    attributes = st.lists(st.tuples(st.sampled_from(["Filter-Id", "Reply-Message"]), _templates), max_size=4)
    return st.builds(
        PlanRules,
        guaranteed_percent=st.none() | _percents,
        priority=st.none() | st.integers(1, 8),
        aggregation=st.none() | st.integers(1, 1000),
        burst=st.none() | _bursts(),
        burst_budget=st.none() | st.builds(BurstBudget, _octets, _rates, _percents),
        allowed_hours=st.lists(windows(), max_size=3, unique=True).map(tuple),
        address_list=st.none() | _words,
        attributes=attributes.map(lambda pairs: tuple(sorted(pairs, key=lambda pair: pair[0]))),
        partners=st.lists(_words, max_size=3, unique=True).map(tuple),
        cap=st.none() | _caps(),
        top_ups=st.lists(_top_ups(), max_size=3).map(tuple),
        counting=st.lists(
            st.builds(CountingWindow, windows(), st.integers(0, 1000), st.sampled_from(Counted)), max_size=3
        ).map(tuple),
        week_starts=st.sampled_from(WeekStart),
        fup=st.none() | _fups(),
        schedule=st.lists(st.builds(ScheduleRule, windows(), rate_changes()), max_size=3).map(tuple),
        classes=st.lists(_classes(), max_size=3).map(tuple),
        blocking=st.none() | blockings(),
        disconnect_unproven_seconds=st.none() | st.integers(10, 30 * 86_400),
    )


def _bursts() -> st.SearchStrategy[Burst]:
    threshold, seconds = _percents, st.integers(1, 3600)
    fixed = st.tuples(_rate_pairs(), threshold, seconds).map(lambda found: Burst(*found[0], None, *found[1:]))
    relative = st.builds(Burst, limit_percent=st.integers(101, 1000), threshold_percent=threshold, seconds=seconds)
    return fixed | relative


def _caps() -> st.SearchStrategy[Cap]:
    plain = st.sampled_from([(CapAction.BLOCK, None), (CapAction.OVERAGE, None)])
    does = plain | rate_changes().map(lambda change: (CapAction(change.kind.value), change))
    rollover = st.builds(Rollover, _percents, st.integers(1, 1096), st.none() | _octets)
    return st.tuples(
        _octets,
        st.sampled_from(Period),
        st.sampled_from(Direction),
        does,
        st.integers(0, 10**18),
        st.none() | rollover,
        st.frozensets(st.integers(1, 1000), max_size=4).map(lambda percents: tuple(sorted(percents))),
        st.booleans(),
    ).map(lambda found: Cap(*found[:3], *found[3], *found[4:]))


def _top_ups() -> st.SearchStrategy[TopUpOffer]:
    prices = st.sampled_from(["0", "5.00", "12.3456"])
    hours = st.integers(1, 8784)
    automatic = st.builds(AutomaticTopUp, _percents, st.integers(1, 1000))
    return st.one_of(
        st.builds(
            TopUpOffer,
            name=_words,
            kind=st.just(TopUpKind.OCTETS),
            octets=_octets,
            price=prices,
            valid_days=st.none() | st.integers(1, 366),
            before_plan=st.booleans(),
            automatic=st.none() | st.builds(AutomaticTopUp, _percents, st.integers(1, 1000), st.booleans()),
        ),
        st.builds(
            TopUpOffer,
            name=_words,
            kind=st.just(TopUpKind.HOURS),
            hours=hours,
            price=prices,
            automatic=st.none() | automatic,
        ),
        st.builds(
            TopUpOffer, name=_words, kind=st.just(TopUpKind.BOOST), hours=hours, boost=rate_changes(), price=prices
        ),
    )


def _fups() -> st.SearchStrategy[Fup]:
    changes = rate_changes() | st.just(Change(ChangeKind.BLOCK))
    period, precedence, name = st.sampled_from(Period), st.integers(-1000, 1000), st.just("") | _words
    steps = st.builds(
        FupStep,
        period,
        changes,
        above_octets=_octets,
        direction=st.sampled_from(Direction),
        precedence=precedence,
        name=name,
    ) | st.builds(
        FupStep, period, changes, above_seconds=st.integers(60, 366 * 86_400), precedence=precedence, name=name
    )
    return st.builds(
        Fup,
        st.lists(steps, min_size=1, max_size=4).map(tuple),
        st.integers(0, 10**18),
        st.none() | st.integers(1, 28),
    )


def _classes() -> st.SearchStrategy[TrafficClass]:
    return st.tuples(_words, st.booleans(), st.sampled_from(["interface_list", "class_value", "queue"]), _words).map(
        lambda found: TrafficClass(found[0], found[1], **{found[2]: found[3]})
    )
