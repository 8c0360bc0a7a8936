"""What a router has to hold: queues, lists and lease rates of its static lines."""

from __future__ import annotations

from daemon.router_duty import Duty, class_queues, key_of_service, service_of_key
from domain.plan_rules import TrafficClass
from enforcement.contention import BLOCKED_LIST, Queueing, SharedPlan, StaticLine
from enforcement.entitlement import Entitlement
from enforcement.routeros_entries import LeaseRate, ListedAddress, SimpleQueue
from tests.unit.enforcement.entitled import entitled

M = 1_000_000
HOME = SharedPlan("plan-1", "home", 10 * M, 5 * M, None)


def line(number: int, told: Entitlement) -> StaticLine:
    return StaticLine(key_of_service(number), f"line{number}", HOME.key, (f"10.0.0.{number}",), told)


def duty(*lines: StaticLine, queueing: Queueing = Queueing.SIMPLE) -> Duty:
    return Duty(queueing, {HOME.key: HOME}, lines, {"service-1": "02:00:00:00:00:01"}, {}, {}, None)


def test_a_line_is_limited_by_its_lease_or_by_a_queue_and_never_by_both() -> None:
    lines = line(1, entitled(10 * M, 5 * M)), line(2, entitled(10 * M, 5 * M))
    found = duty(*lines).entries({"service-1"})
    assert [entry.key for entry in found if isinstance(entry, SimpleQueue)] == ["service-2"]
    assert [entry for entry in found if isinstance(entry, LeaseRate)] == [
        LeaseRate("service-1", "02:00:00:00:00:01", "5M/10M")
    ]


def test_a_leased_line_is_listed_all_the_same() -> None:
    found = duty(line(1, entitled(M, M, address_list="homes"))).entries({"service-1"})
    assert [entry.list for entry in found if isinstance(entry, ListedAddress)] == ["homes"]


def test_a_leased_line_that_is_not_let_in_is_held_to_next_to_nothing() -> None:
    found = duty(line(1, entitled(M, M, admitted=False))).entries({"service-1"})
    assert [entry.rate_limit for entry in found if isinstance(entry, LeaseRate)] == ["1000/1000"]
    assert [entry.list for entry in found if isinstance(entry, ListedAddress)] == [BLOCKED_LIST]


def test_without_queueing_only_lists_are_kept() -> None:
    found = duty(line(1, entitled(M, M, address_list="homes")), queueing=Queueing.NONE).entries(())
    assert [type(entry) for entry in found] == [ListedAddress]


def test_a_key_tells_its_service_and_what_lines_share_tells_none() -> None:
    keys = ("service-12", "service-12/10.0.0.1", "plan-3-shared", "plan-3-pcq-1-2-8", "service-x", "service-")
    assert [service_of_key(key) for key in keys] == [12, 12, None, None, None, None]


def test_each_line_has_a_queue_for_each_class_that_a_queue_tells_apart() -> None:
    local = TrafficClass("local", counts=False, queue="{login} local")
    peering = TrafficClass("peering", counts=False, interface_list="IX")
    voip = TrafficClass("voip", counts=True, queue="{login} voip {login}")
    assert class_queues([("ana", [local, peering, voip]), ("eva", [local])]) == {
        "ana local": "ana",
        "ana voip ana": "ana",
        "eva local": "eva",
    }


def test_queue_that_would_count_the_traffic_of_several_lines_is_nobodys() -> None:
    shared = TrafficClass("voip", counts=True, queue="voip")
    assert class_queues([("ana", [shared, shared])]) == {"voip": "ana"}
    assert class_queues([("ana", [shared]), ("eva", [shared])]) == {}


def test_queue_whose_name_no_record_can_carry_is_not_counted() -> None:
    assert class_queues([("\u00f1" * 127, [TrafficClass("local", counts=False, queue="{login}")])]) == {}
