"""What a box answers to commands, and what they leave behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.instants import SECOND_US, Microseconds
from domain.secret import Secret
from simulator.rate_limit import Pair, RateLimit
from simulator.rates import Rates
from simulator.routeros_commands import Console, Result
from simulator.routeros_sessions import ActiveSession, SessionTable
from simulator.routeros_state import BoxSettings, Grade, RouterState
from simulator.routeros_tables import Trap
from simulator.routeros_words import Command

START = Microseconds(1_700_000_000_000_000)
ANA = ActiveSession(
    acct_session_id="81300077",
    login="ana",
    address="100.64.0.7",
    started_us=START,
    octets=Pair(1_000, 9_000),
    rate_limit=RateLimit(Pair(5_000_000, 20_000_000), priority=3),
    address_list="gamers",
)


class Desk:
    """A box, and somebody who types."""

    def __init__(self, settings: BoxSettings | None = None) -> None:
        self.now = START
        self.grade = Grade.FULL
        self.sessions = SessionTable()
        self.state = RouterState(settings or BoxSettings(identity="norte"), START, lines=self.sessions)
        self._console = Console(self.state)

    def run(self, words: str, *queries: str, **attributes: str) -> Result:
        """Run a command; `_id` is `.id`, `_proplist` is `.proplist`, other underlines are dashes."""
        named = {
            "." + name[1:] if name.startswith("_") else name.replace("_", "-"): value
            for name, value in attributes.items()
        }
        return self._console.execute(Command(words, named, queries, None), self.now, self.grade)

    def rows(self, words: str, *queries: str, **attributes: str) -> list[dict[str, str]]:
        return [dict(row) for row in self.run(words, *queries, **attributes).rows]

    def add(self, menu: str, **attributes: str) -> str:
        return dict(self.run(f"{menu}/add", **attributes).done)["ret"]

    def queue(self, name: str, **attributes: str) -> str:
        return self.add("/queue/simple", name=name, **{"target": "100.64.1.1", **attributes})

    def names(self) -> str:
        return " ".join(row["name"] for row in self.rows("/queue/simple/print", _proplist="name"))

    def refusal(self, words: str, **attributes: str) -> tuple[str, int | None]:
        with pytest.raises(Trap) as caught:
            self.run(words, **attributes)
        return caught.value.message, caught.value.category


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_queue_is_printed_as_routeros_prints_it(desk: Desk) -> None:
    number = desk.queue("ana", max_limit="10M/20M", limit_at="1M/2M", burst_time="8/16", comment="caudal:7")
    (row,) = desk.rows("/queue/simple/print")
    assert (
        row.items()
        >= {
            ".id": number,
            "name": "ana",
            "target": "100.64.1.1/32",
            "max-limit": "10000000/20000000",
            "limit-at": "1000000/2000000",
            "burst-time": "8s/16s",
            "priority": "8/8",
            "parent": "none",
            "comment": "caudal:7",
            "dynamic": "false",
            "bytes": "0/0",
        }.items()
    )


def test_numbers_are_hexadecimal_and_never_given_twice(desk: Desk) -> None:
    numbers = [desk.queue(f"q{number}") for number in range(26)]
    assert (numbers[0], numbers[25]) == ("*1", "*1A")
    desk.run("/queue/simple/remove", _id="*1A")
    assert desk.queue("another") == "*1B"


@pytest.mark.parametrize(
    ("words", "attributes", "refusal"),
    [
        ("/queue/simple/add", {"name": "x", "target": "1.1.1.1", "speed": "1M"}, ("unknown parameter speed", None)),
        ("/queue/simple/add", {"name": "x", "target": "1.1.1.1", "bytes": "1/1"}, ("unknown parameter bytes", None)),
        ("/queue/simple/add", {"name": "x"}, ("missing value(s) of argument(s) target", 1)),
        ("/queue/simple/add", {"name": "ana", "target": "1.1.1.1"}, ("failure: already have such name", None)),
        (
            "/queue/simple/add",
            {"name": "x", "target": "1.1.1.1", "max_limit": "fast"},
            ("invalid value for argument max-limit", 1),
        ),
        (
            "/queue/simple/add",
            {"name": "x", "target": "1.1.1.1", "max_limit": "1M/1M", "limit_at": "0/2M"},
            ("failure: limit-at can not be greater than max-limit", None),
        ),
        (
            "/queue/simple/add",
            {"name": "x", "target": "1.1.1.1", "parent": "nobody"},
            ("input does not match any value of parent", 1),
        ),
        (
            "/queue/simple/add",
            {"name": "x", "target": "1.1.1.1", "queue": "default/nothing"},
            ("input does not match any value of queue", 1),
        ),
        ("/queue/simple/set", {"_id": "*99", "name": "x"}, ("no such item", 0)),
        ("/queue/simple/set", {"name": "x"}, ("no such item", 0)),
        ("/queue/simple/remove", {"_id": "*1,*99"}, ("no such item", 0)),
        ("/queue/simple/print", {"speed": ""}, ("unknown parameter speed", None)),
        ("/queue/compound/print", {}, ("no such command", 0)),
        ("/queue/simple/explode", {}, ("no such command", 0)),
        ("/ip/service/add", {"name": "x"}, ("no such command", 0)),
        ("/interface/list/remove", {"_id": "all"}, ("failure: can not remove default list", None)),
        ("/radius/incoming/set", {"accept": "maybe"}, ("invalid value for argument accept", 1)),
        ("/ppp/active/remove", {"_id": "*80000001"}, ("no such item", 0)),
    ],
)
def test_what_breaks_a_rule_is_trapped_and_changes_nothing(
    desk: Desk, words: str, attributes: dict[str, str], refusal: tuple[str, int | None]
) -> None:
    desk.queue("ana")
    before = desk.rows("/queue/simple/print")
    assert desk.refusal(words, **attributes) == refusal
    assert desk.rows("/queue/simple/print") == before


def test_a_set_of_many_entries_changes_all_or_none(desk: Desk) -> None:
    first, second = desk.queue("a", max_limit="1M/1M"), desk.queue("b", max_limit="9M/9M")
    assert desk.refusal("/queue/simple/set", _id=f"{second},{first}", limit_at="5M/5M")[0].startswith("failure")
    desk.run("/queue/simple/set", _id=f"{first},{second}", max_limit="7M/7M")
    assert {row["max-limit"] for row in desk.rows("/queue/simple/print")} == {"7000000/7000000"}


def test_an_entry_may_be_called_by_its_name(desk: Desk) -> None:
    desk.queue("ana")
    desk.run("/queue/simple/set", _id="ana", comment="found")
    assert desk.rows("/queue/simple/print", "name=ana", _proplist="comment") == [{"comment": "found"}]


def test_an_empty_comment_is_no_comment(desk: Desk) -> None:
    number = desk.queue("ana", comment="x")
    desk.run("/queue/simple/set", _id=number, comment="")
    assert "comment" not in desk.rows("/queue/simple/print")[0]


def test_a_queue_without_a_name_gets_one(desk: Desk) -> None:
    desk.run("/queue/simple/add", target="1.1.1.1")
    desk.run("/queue/simple/add", target="1.1.1.2")
    assert desk.names() == "queue1 queue2"


def test_queues_stand_where_they_were_put_and_moved(desk: Desk) -> None:
    first, second = desk.queue("a"), desk.queue("b")
    desk.queue("c", place_before=second)
    assert desk.names() == "a c b"
    desk.run("/queue/simple/move", numbers=second, destination=first)
    assert desk.names() == "b a c"
    desk.run("/queue/simple/move", numbers=f"{second},{first}")
    assert desk.names() == "c b a"


def test_who_names_a_queue_follows_it(desk: Desk) -> None:
    parent = desk.queue("tower")
    desk.queue("ana", parent="tower")
    desk.run("/queue/simple/set", _id=parent, name="mast")
    assert desk.rows("/queue/simple/print", "name=ana")[0]["parent"] == "mast"
    desk.run("/queue/simple/remove", _id=parent)
    assert desk.rows("/queue/simple/print", "name=ana")[0]["parent"] == parent


def test_enabling_and_disabling(desk: Desk) -> None:
    number = desk.queue("ana")
    desk.run("/queue/simple/disable", _id=number)
    assert [row["name"] for row in desk.rows("/queue/simple/print", "disabled=yes")] == ["ana"]
    desk.run("/queue/simple/enable", _id=number)
    assert desk.rows("/queue/simple/print", "disabled=yes") == []


def test_rows_can_be_counted_and_cut_down_to_some_properties(desk: Desk) -> None:
    desk.queue("ana")
    desk.queue("eva", comment="x")
    assert desk.run("/queue/simple/print", count_only="").done == (("ret", "2"),)
    assert desk.rows("/queue/simple/print", _proplist="name,comment") == [
        {"name": "ana"},
        {"name": "eva", "comment": "x"},
    ]


def test_an_address_stands_once_on_a_list(desk: Desk) -> None:
    desk.add("/ip/firewall/address-list", list="blocked", address="100.64.0.1")
    assert desk.refusal("/ip/firewall/address-list/add", list="blocked", address="100.64.0.1/32") == (
        "failure: already have such entry",
        None,
    )
    desk.add("/ip/firewall/address-list", list="slow", address="100.64.0.1")


def test_an_entry_with_a_timeout_is_dynamic_and_goes(desk: Desk) -> None:
    number = desk.add("/ip/firewall/address-list", list="blocked", address="100.64.0.1", timeout="1h")
    desk.now = Microseconds(START + 600 * SECOND_US)
    (row,) = desk.rows("/ip/firewall/address-list/print")
    assert (row["timeout"], row["dynamic"]) == ("50m", "true")
    assert desk.refusal("/ip/firewall/address-list/set", _id=number, comment="x")[0].startswith(
        "failure: can not change dynamic"
    )
    desk.now = Microseconds(START + 3_600 * SECOND_US)
    assert desk.rows("/ip/firewall/address-list/print") == []


def test_a_session_shows_in_ppp_active_with_its_number(desk: Desk) -> None:
    desk.sessions.open(ANA)
    desk.now = Microseconds(START + 90 * SECOND_US)
    (row,) = desk.rows("/ppp/active/print")
    assert (
        row.items()
        >= {
            ".id": "*80000077",
            "session-id": "0x81300077",
            "name": "ana",
            "address": "100.64.0.7",
            "uptime": "1m30s",
            "service": "pppoe",
            "radius": "true",
        }.items()
    )


def test_removing_an_active_session_kicks_it(desk: Desk) -> None:
    desk.sessions.open(ANA)
    desk.run("/ppp/active/remove", _id="*80000077")
    assert desk.rows("/ppp/active/print") == []


def test_a_radius_session_has_a_dynamic_queue_first_with_the_rate_in_force(desk: Desk) -> None:
    desk.queue("static")
    desk.sessions.open(ANA)
    queue, _ = desk.rows("/queue/simple/print")
    assert (
        queue.items()
        >= {
            "name": "<pppoe-ana>",
            "target": "100.64.0.7/32",
            "max-limit": "5000000/20000000",
            "priority": "3/3",
            "bytes": "1000/9000",
            "dynamic": "true",
        }.items()
    )
    desk.sessions.open(replace(ANA, rate_limit=RateLimit(Pair(1_000, 2_000))))
    changed, _ = desk.rows("/queue/simple/print")
    assert (changed[".id"], changed["max-limit"]) == (queue[".id"], "1000/2000")


@pytest.mark.parametrize("verb", ["set", "remove", "disable"])
def test_what_radius_made_is_not_editable(desk: Desk, verb: str) -> None:
    desk.sessions.open(ANA)
    for menu in ("/queue/simple", "/ip/firewall/address-list", "/interface"):
        (row,) = desk.rows(f"{menu}/print", "dynamic=yes")
        if menu != "/interface" or verb != "remove":
            assert "dynamic" in desk.refusal(f"{menu}/{verb}", _id=row[".id"])[0]


def test_a_session_without_a_rate_of_radius_has_no_queue(desk: Desk) -> None:
    desk.sessions.open(replace(ANA, rate_limit=None, address_list=None))
    assert desk.rows("/queue/simple/print") == desk.rows("/ip/firewall/address-list/print") == []


def test_the_first_enabled_queue_shapes_its_address(desk: Desk) -> None:
    first = desk.queue("a", target="100.64.0.7", max_limit="1M/2M")
    second = desk.queue("b", target="100.64.0.7,100.64.0.8", max_limit="3M/4M")
    assert desk.sessions.shapes == {
        "100.64.0.7": Rates(1_000_000, 2_000_000),
        "100.64.0.8": Rates(3_000_000, 4_000_000),
    }
    desk.run("/queue/simple/disable", _id=first)
    assert desk.sessions.shapes["100.64.0.7"] == Rates(3_000_000, 4_000_000)
    desk.run("/queue/simple/remove", _id=second)
    assert desk.sessions.shapes == {}


def test_a_reboot_keeps_what_was_written_and_loses_what_was_not(desk: Desk) -> None:
    number = desk.queue("static")
    desk.state.count_traffic("/queue/simple", number, 10, 20)
    desk.add("/ip/firewall/address-list", list="kept", address="1.1.1.1")
    desk.add("/ip/firewall/address-list", list="lost", address="1.1.1.1", timeout="1h")
    desk.state.enter("/ip/dhcp-server/lease", {"address": "10.0.0.1", "status": "bound"}, dynamic=True)
    desk.state.enter("/ip/hotspot/active", {"user": "eva", "address": "10.5.0.2"})
    desk.sessions.open(ANA)
    desk.now = Microseconds(START + 100 * SECOND_US)
    assert desk.rows("/system/resource/print", _proplist="uptime") == [{"uptime": "1m40s"}]
    desk.run("/system/reboot")
    assert desk.rows("/system/resource/print", _proplist="uptime") == [{"uptime": "0s"}]
    assert [(row["name"], row["bytes"]) for row in desk.rows("/queue/simple/print")] == [("static", "0/0")]
    assert [row["list"] for row in desk.rows("/ip/firewall/address-list/print")] == ["kept"]
    assert desk.rows("/ppp/active/print") == desk.rows("/ip/hotspot/active/print") == []
    assert desk.rows("/ip/dhcp-server/lease/print") == []
    assert desk.sessions.reboots == 1


def test_a_dynamic_lease_is_made_static_before_it_can_be_changed(desk: Desk) -> None:
    number = desk.state.enter(
        "/ip/dhcp-server/lease",
        {"address": "10.0.0.1", "mac-address": "02:00:00:00:00:09", "status": "bound"},
        dynamic=True,
    )
    assert desk.refusal("/ip/dhcp-server/lease/set", _id=number, rate_limit="1M/2M") == (
        "failure: can not change dynamic lease",
        None,
    )
    desk.run("/ip/dhcp-server/lease/make-static", _id=number)
    desk.run("/ip/dhcp-server/lease/set", _id=number, rate_limit="1M/2M")
    assert desk.rows("/ip/dhcp-server/lease/print", _proplist="rate-limit") == [{"rate-limit": "1M/2M"}]


def test_a_hotspot_session_can_be_kicked_and_not_written(desk: Desk) -> None:
    number = desk.state.enter("/ip/hotspot/active", {"user": "eva", "address": "10.5.0.2"})
    desk.state.count_traffic("/ip/hotspot/active", number, 5, 7)
    assert desk.rows("/ip/hotspot/active/print", _proplist="user,bytes-in,bytes-out") == [
        {"user": "eva", "bytes-in": "5", "bytes-out": "7"}
    ]
    assert desk.refusal("/ip/hotspot/active/add", user="leo") == ("no such command", 0)
    desk.run("/ip/hotspot/active/remove", _id=number)
    assert desk.rows("/ip/hotspot/active/print") == []


def test_counters_are_reset_on_demand(desk: Desk) -> None:
    number = desk.queue("ana")
    desk.state.count_traffic("/queue/simple", number, 5, 7)
    assert desk.rows("/queue/simple/print")[0]["bytes"] == "5/7"
    desk.run("/queue/simple/reset-counters", _id=number)
    assert desk.rows("/queue/simple/print")[0]["bytes"] == "0/0"


def test_queue_counts_what_passes_through_those_below_it(desk: Desk) -> None:
    desk.queue("ana")
    desk.state.count_traffic("/queue/simple", desk.queue("ana local", parent="ana"), 5, 7)
    desk.state.count_traffic("/queue/simple", "ana", 1, 1)
    assert [row["bytes"] for row in desk.rows("/queue/simple/print")] == ["6/8", "5/7"]


def test_secrets_of_users_are_never_printed_and_readers_may_not_write(desk: Desk) -> None:
    desk.add("/user", name="watcher", group="read", password="x")
    assert all("password" not in row for row in desk.rows("/user/print"))
    assert desk.state.log_in("watcher", b"x") is Grade.READ
    assert desk.state.log_in("watcher", b"y") is desk.state.log_in("nobody", b"x") is None
    desk.grade = Grade.READ
    assert desk.refusal("/queue/simple/add", target="1.1.1.1") == ("not enough permissions (9)", None)


def test_incoming_orders_are_refused_by_default_and_counted(desk: Desk) -> None:
    assert desk.rows("/radius/incoming/print") == [{"accept": "false", "port": "3799", "vrf": "main"}]
    desk.run("/radius/incoming/set", accept="yes", port="1700")
    assert (desk.state.incoming.accept, desk.state.incoming.port) == (True, 1700)
    desk.state.incoming.acks = 3
    assert desk.rows("/radius/incoming/monitor", once="") == [
        {"requests": "0", "bad-requests": "0", "acks": "3", "naks": "0"}
    ]
    assert desk.run("/radius/incoming/monitor").repeats


def test_a_box_tells_its_name_version_and_wrong_clock() -> None:
    desk = Desk(BoxSettings(identity="norte", clock_offset_us=-90 * SECOND_US))
    assert desk.rows("/system/identity/print") == [{"name": "norte"}]
    assert desk.rows("/system/resource/print")[0]["version"].startswith("7.")
    assert desk.rows("/system/clock/print", _proplist="date,time") == [{"date": "2023-11-14", "time": "22:11:50"}]


@pytest.mark.parametrize(("version", "says"), [("7.17.2 (stable)", False), ("7.18 (stable)", True), ("6.49.18", False)])
def test_newer_versions_mark_an_empty_print(version: str, says: bool) -> None:
    assert Desk(BoxSettings(password=Secret(b""), version=version)).state.says_empty is says


def test_settings_of_ppp(desk: Desk) -> None:
    desk.run("/ppp/aaa/set", use_radius="yes", interim_update="00:05:00")
    (row,) = desk.rows("/ppp/aaa/print")
    assert (row["use-radius"], row["interim-update"]) == ("true", "5m")


def test_members_name_lists_and_interfaces_that_exist_sessions_included(desk: Desk) -> None:
    desk.sessions.open(ANA)
    desk.add("/interface/list", name="uncounted")
    desk.add("/interface/list/member", list="uncounted", interface="<pppoe-ana>")
    assert desk.refusal("/interface/list/member/add", list="uncounted", interface="ether99") == (
        "input does not match any value of interface",
        1,
    )
