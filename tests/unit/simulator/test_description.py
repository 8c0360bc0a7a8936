"""Fleets from a provisioning file and from numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from domain.errors import CaudalError
from domain.secret import Secret
from simulator.description import ApiDescription, FleetDescription, Method, read_isp, synthetic
from simulator.errors import SimulatorError

ISP = """
[isp]
name = "Río"
[[router]]
name = "norte"
address = "127.0.0.2"
secret = "norte-secret"
profile = "mikrotik"
[[router]]
name = "sur"
address = "127.0.3.0/24"
identifier = "sur-nas"
secret = "sur-secret"
profile = "generic"
coa_port = 4000
require_message_authenticator = "never"
flip_counters = true
[[plan]]
name = "20M"
kind = "internet"
download = "20M"
upload = "10M"
[[service]]
login = "ana"
password = "p"
plan = "20M"
mac = "AA:BB:CC:00:00:01"
[[service]]
login = "02-00-00-00-00-07"
password = ""
plan = "20M"
[[service]]
login = "eva"
password = "p"
plan = "20M"
routers = ["sur"]
"""


@pytest.fixture
def isp(tmp_path: Path) -> Path:
    path = tmp_path / "isp.toml"
    path.write_text(ISP, encoding="utf-8")
    return path


def test_routers_are_read_with_their_ways(isp: Path) -> None:
    norte, sur = read_isp(isp).routers
    assert (norte.address, norte.identifier, norte.coa_port) == ("127.0.0.2", "norte", 3799)
    assert (norte.signs_requests, norte.flip_counters) == (True, False)
    assert (sur.address, sur.identifier, sur.coa_port) == ("127.0.3.1", "sur-nas", 4000)
    assert (sur.signs_requests, sur.flip_counters) == (False, True)
    assert sur.secret.reveal() == b"sur-secret"


def test_services_keep_their_mac_and_their_routers(isp: Path) -> None:
    ana, dhcp, eva = read_isp(isp).subscribers
    assert ana.mac == "AA:BB:CC:00:00:01"
    assert (dhcp.mac, dhcp.method) == ("02:00:00:00:00:07", Method.PAP)
    assert eva.router == "sur"


def test_a_fleet_is_the_same_at_every_run(isp: Path) -> None:
    assert read_isp(isp, seed=3) == read_isp(isp, seed=3)


def test_a_fleet_can_be_cut_to_its_first_subscribers(isp: Path) -> None:
    assert [known.login for known in read_isp(isp, subscribers=1).subscribers] == ["ana"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "is not TOML"),
        ("", "at least one router"),
        ('[[router]]\nname = "a"\naddress = "127.0.0.2"\nprofile = "generic"\n', "secret"),
        (ISP.replace('routers = ["sur"]', 'routers = ["este"]'), "este"),
        (ISP.replace('password = "p"\n', "", 1), "password"),
    ],
)
def test_a_file_without_a_fleet_is_refused(isp: Path, text: str, complaint: str) -> None:
    isp.write_text(text, encoding="utf-8")
    with pytest.raises(CaudalError, match=complaint):
        read_isp(isp)


def test_two_routers_of_one_name_are_refused() -> None:
    router = made_up().routers[0]
    with pytest.raises(SimulatorError, match="the same name"):
        FleetDescription([router, router], [])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match=r"none\.toml cannot be read"):
        read_isp(tmp_path / "none.toml")


def made_up(routers: int = 3, subscribers: int = 1_000, login_pattern: str = "user%d") -> FleetDescription:
    return synthetic(
        routers=routers, subscribers=subscribers, secret=Secret.from_text("s"), login_pattern=login_pattern
    )


def test_made_up_subscribers_are_dealt_out_evenly_and_mix_their_methods() -> None:
    fleet = made_up()
    assert [router.address for router in fleet.routers] == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]
    assert Counter(known.router for known in fleet.subscribers)["sim-router-2"] == 333
    methods = Counter(known.method for known in fleet.subscribers)
    assert all(methods[method] > 100 for method in Method)
    assert len({known.mac for known in fleet.subscribers}) == 1_000
    assert (fleet.subscribers[0].login, fleet.subscribers[0].password.reveal()) == ("user1", b"pass1")


def test_a_pattern_without_a_place_for_the_number_is_refused() -> None:
    with pytest.raises(SimulatorError, match="patterns hold one %d"):
        made_up(login_pattern="user")


def test_a_fleet_without_routers_is_refused() -> None:
    with pytest.raises(SimulatorError, match="at least one router"):
        made_up(routers=0)


API = """
[[router]]
name = "norte"
address = "127.0.0.2"
secret = "norte-secret"
profile = "mikrotik"
api = { user = "caudal", password = "api-password"%s }
"""


@pytest.mark.parametrize(
    ("more", "port", "tls"),
    [("", 8728, False), (", tls = true", 8729, True), (", port = 9000", 9000, False)],
)
def test_a_mikrotik_router_has_the_api_that_the_file_gives_it(tmp_path: Path, more: str, port: int, tls: bool) -> None:
    path = tmp_path / "isp.toml"
    path.write_text(API % more, encoding="utf-8")
    fleet = read_isp(path)
    assert fleet.routers[0].api == ApiDescription("caudal", Secret(b"api-password"), port, tls)
    assert fleet.without_api().routers[0].api is None


def test_some_subscribers_download_without_a_rest(isp: Path) -> None:
    fleet = read_isp(isp).with_demands({"ana": 5_000_000})
    assert {known.login: known.demand_bits_per_second for known in fleet.subscribers} == {
        "ana": 5_000_000,
        "02:00:00:00:00:07": None,
        "eva": None,
    }


def test_nobody_unknown_downloads(isp: Path) -> None:
    with pytest.raises(SimulatorError, match="no service of the fleet is called leo"):
        read_isp(isp).with_demands({"leo": 1})
