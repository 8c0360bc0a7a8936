"""What lines without a session share, and the queues that make them share it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.plan_rules import Direction
from enforcement import contention
from enforcement.contention import Queueing, SharedPlan, StaticLine, entries, shared_rate
from enforcement.entitlement import Entitlement, Refusal
from enforcement.routeros_entries import Entry, ListedAddress, PcqType, SimpleQueue, UpDown

M = 1_000_000
HOME = SharedPlan("plan-1", "Home", 5 * M, 1 * M, 5)
PRIVATE = SharedPlan("plan-2", "Private", 5 * M, 1 * M, None)
PLANS = {plan.key: plan for plan in (HOME, PRIVATE)}


def entitlement(
    download: int | None = 5 * M,
    upload: int | None = 1 * M,
    *,
    refusal: Refusal | None = None,
    walled: bool = False,
    burst: int | None = None,
    guaranteed: int | None = None,
    address_list: str | None = None,
) -> Entitlement:
    return Entitlement(
        admitted=refusal is None or walled,
        refusal=refusal,
        walled=walled,
        download=download,
        upload=upload,
        burst_download=burst,
        burst_upload=burst,
        burst_threshold_download=burst and burst // 2,
        burst_threshold_upload=burst and burst // 2,
        burst_seconds=burst and 16,
        guaranteed_download=guaranteed,
        guaranteed_upload=guaranteed,
        priority=None,
        address_list=address_list,
        pool=None,
        redirect_url=None,
        attributes=(),
        octets_left=None,
        left_direction=Direction.BOTH,
        valid_until=None,
        ends_at=None,
        overage_octets=0,
        warnings=(),
        ceiling_warnings=(),
        rules=(),
    )


def line(number: int, told: Entitlement | None = None, plan: SharedPlan = HOME) -> StaticLine:
    return StaticLine(
        f"service-{number}",
        f"line {number}",
        plan.key,
        (f"10.0.{number // 256}.{number % 256}",),
        told or entitlement(),
    )


def queues(found: Iterable[Entry]) -> dict[str, SimpleQueue]:
    return {each.name: each for each in found if isinstance(each, SimpleQueue)}


@pytest.mark.parametrize(("lines", "shared"), [(1, 5), (5, 5), (6, 6), (7, 7), (100, 100)])
def test_lines_share_the_rate_of_the_plan_or_a_fifth_of_all(lines: int, shared: int) -> None:
    assert shared_rate(5 * M, [5 * M] * lines, 5) == shared * M


def test_a_line_that_was_slowed_counts_with_what_it_has() -> None:
    assert shared_rate(5 * M, [5 * M] * 9 + [1 * M], 5) == 9_200_000


def test_a_share_is_a_whole_bit_per_second_and_never_too_little() -> None:
    assert shared_rate(1, [1, 1, 1, 1], 3) == 2


def test_a_plan_without_limit_shares_without_limit() -> None:
    assert shared_rate(None, [], 5) is None


@given(st.integers(1, 10**10), st.lists(st.integers(0, 10**10), max_size=50), st.integers(1, 100))
def test_a_share_is_enough_for_one_and_for_each_nth_part(plan: int, rates: list[int], ratio: int) -> None:
    shared = shared_rate(plan, rates, ratio)
    assert shared is not None
    assert shared >= plan
    assert shared * ratio >= sum(rates)
    assert shared == plan or (shared - 1) * ratio < sum(rates)


def test_the_tree_of_a_plan_has_exactly_the_addresses_of_its_lines() -> None:
    found = queues(entries([line(number) for number in range(8, 15)], PLANS, Queueing.SIMPLE))
    parent = found.pop("Home 1:5")
    assert parent.targets == ("10.0.0.8/30", "10.0.0.12/31", "10.0.0.14/32")
    assert parent.max_limit == UpDown(1_400_000, 7 * M)
    assert len(found) == 7
    assert {each.parent for each in found.values()} == {"Home 1:5"}
    assert {each.max_limit for each in found.values()} == {UpDown(1 * M, 5 * M)}


@pytest.mark.parametrize("told", [entitlement(20 * M, 1 * M), entitlement(None, 1 * M), entitlement(5 * M, None)])
def test_a_line_faster_than_its_plan_stands_beside_the_tree(told: Entitlement) -> None:
    found = queues(entries([line(1), line(2, told)], PLANS, Queueing.SIMPLE))
    assert found["line 2"].parent is None
    assert found["line 1"].parent == "Home 1:5"
    assert found["Home 1:5"].targets == ("10.0.0.1/32",)


def test_a_plan_without_aggregation_has_no_tree() -> None:
    found = queues(entries([line(1, plan=PRIVATE)], PLANS, Queueing.SIMPLE))
    assert found == {"line 1": found["line 1"]}
    assert found["line 1"].parent is None


def test_a_queue_is_told_all_of_an_entitlement() -> None:
    told = entitlement(burst=8 * M, guaranteed=2 * M)
    made = queues(entries([line(1, told)], PLANS, Queueing.SIMPLE))["line 1"]
    assert made.properties() == {
        "name": "line 1",
        "target": "10.0.0.1",
        "parent": "Home 1:5",
        "max-limit": "1000000/5000000",
        "limit-at": "1000000/2000000",
        "burst-limit": "8000000/8000000",
        "burst-threshold": "4000000/4000000",
        "burst-time": "16s/16s",
        "priority": "8/8",
        "queue": "default-small/default-small",
        "disabled": "no",
    }


def test_a_burst_that_is_not_above_the_rate_is_none() -> None:
    made = queues(entries([line(1, entitlement(burst=2 * M))], PLANS, Queueing.SIMPLE))["line 1"]
    assert (made.burst_limit, made.burst_threshold, made.burst_seconds) == (UpDown(2 * M), UpDown(1 * M), 16)
    flat = queues(entries([line(1, entitlement(burst=1 * M))], PLANS, Queueing.SIMPLE))["line 1"]
    assert (flat.burst_limit, flat.burst_threshold, flat.burst_seconds) == (UpDown(), UpDown(), 0)


def test_a_line_that_is_not_let_in_is_listed_and_held_to_next_to_nothing() -> None:
    found = entries([line(1, entitlement(refusal=Refusal.BLOCKED))], PLANS, Queueing.SIMPLE)
    assert found == [
        SimpleQueue("service-1", "line 1", ("10.0.0.1",), contention.BLOCKED_RATE),
        ListedAddress("service-1/10.0.0.1", contention.BLOCKED_LIST, "10.0.0.1"),
    ]


def test_a_line_in_the_walled_garden_is_on_its_list() -> None:
    told = entitlement(64_000, 64_000, refusal=Refusal.NO_BALANCE, walled=True, address_list="garden")
    found = entries([line(1, told)], PLANS, Queueing.NONE)
    assert found == [ListedAddress("service-1/10.0.0.1", "garden", "10.0.0.1")]


def test_with_pcq_lines_of_equal_rates_share_one_queue() -> None:
    slowed = entitlement(1 * M, 1 * M)
    told = [line(1), line(2), line(3, slowed), line(4, entitlement(burst=8 * M))]
    found = entries(told, PLANS, Queueing.PCQ)
    made = queues(found)
    assert set(made) == {"Home 1:5", "Home 1000000/5000000 PCQ", "Home 1000000/1000000 PCQ", "line 4"}
    assert made["Home 1:5"].max_limit.down == 5 * M
    shared = made["Home 1000000/5000000 PCQ"]
    assert shared.targets == ("10.0.0.1/32", "10.0.0.2/32")
    assert shared.parent == "Home 1:5"
    types = {each.name: each for each in found if isinstance(each, PcqType)}
    up, down = (types[name] for name in shared.queue.split("/"))
    assert (up.rate, up.classifier, down.rate, down.classifier) == (1 * M, "src-address", 5 * M, "dst-address")


def test_a_type_stands_before_the_queue_that_uses_it() -> None:
    kinds = [type(each) for each in entries([line(1)], PLANS, Queueing.PCQ)]
    assert kinds == [SimpleQueue, PcqType, PcqType, SimpleQueue]


def test_two_lines_of_one_name_have_queues_of_two_names() -> None:
    twins = [line(1)._replace(name="ana"), line(2)._replace(name="ana")]
    assert set(queues(entries(twins, PLANS, Queueing.SIMPLE))) == {"Home 1:5", "ana", "ana (service-2)"}


def test_a_plan_of_many_scattered_lines_is_widened_over_addresses_of_nobody() -> None:
    scattered = [line(2 * number) for number in range(contention.MOST_TARGETS + 1)]
    stranger = line(1, plan=PRIVATE)
    parent = queues(entries([*scattered, stranger], PLANS, Queueing.SIMPLE))["Home 1:5"]
    assert len(parent.targets) <= contention.MOST_TARGETS
    assert "10.0.0.0/32" in parent.targets
    assert "10.0.0.2/31" in parent.targets or "10.0.0.2/32" in parent.targets


def test_the_order_in_which_lines_come_says_nothing() -> None:
    told = [line(number, entitlement(number * 100_000)) for number in range(1, 9)]
    for queueing in Queueing:
        assert entries(told, PLANS, queueing) == entries(reversed(told), PLANS, queueing)
