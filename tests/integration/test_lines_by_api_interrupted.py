"""What lines on line are told over the RouterOS API, broken off at every single command.

Rule: another core goes on, which knows nothing but what the router shows, and comes to the same end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from daemon.enforcement_api import LINE_TAG, RouterApis
from daemon.enforcement_orders import Order
from daemon.enforcement_routers import Site, find_site
from domain.network import ApiAccess
from domain.secret import Secret
from enforcement.reconcile import OutcomeKind
from radius.dynamic_authorization import SessionNames
from simulator.rate_limit import Pair, RateLimit
from simulator.routeros_faults import SOUND, ApiFaults, Mishap
from simulator.routeros_sessions import ActiveSession
from tests.unit.daemon.test_enforcer_lines import ROUTER, order
from tests.unit.enforcement.entitled import entitled
from tests.unit.simulator.routeros_box import ADDRESS, PASSWORD, USER, RunningBox, running_box

M = 1_000_000
SECONDS = 60.0
LISTS = "/ip/firewall/address-list"
FAULTS = [
    ApiFaults(Mishap.CUT, times=1),
    ApiFaults(Mishap.CUT, times=1, takes_effect=True),
    ApiFaults(Mishap.FATAL, times=1, takes_effect=True),
]
DONE = frozenset((OutcomeKind.API_OK, OutcomeKind.GONE, OutcomeKind.READ_BACK_MATCHES))

Listed = list[tuple[str, str, str]]
End = tuple[Listed, list[str]]


@dataclass(frozen=True)
class Scenario:
    """The list of the session, the one where it is to be, and what is done about it."""

    before: str | None
    wanted: str | None
    ask: str
    taken: bool = False
    """Whether an operator has listed the address too, elsewhere."""


SCENARIOS = {
    "into the walled garden": Scenario(None, "garden", "change"),
    "out of the walled garden": Scenario("garden", None, "change"),
    "from one list to another": Scenario("homes", "garden", "change"),
    "beside an entry of the operator": Scenario("homes", "garden", "change", taken=True),
    "where it is already": Scenario("garden", "garden", "change"),
    "to its end": Scenario("garden", None, "kick"),
    "after its end": Scenario("garden", None, "tidy"),
}


def wished(list_name: str | None) -> Order:
    """Return the order to give the session that list."""
    names = SessionNames(user_name="user1", acct_session_id="81300001", framed_ip_address="10.7.0.1")
    return replace(order(entitled(M, M, address_list=list_name)), names=names)


def site_of(box: RunningBox) -> Site:
    """Return how the box is reached."""
    access = ApiAccess(USER, Secret.from_text(PASSWORD), box.port, tls=False)
    site = find_site({1: replace(ROUTER, network=f"{ADDRESS}/32", api=access)}, (1, ""))
    assert site is not None
    return site


async def none_open(_session_ids: object) -> frozenset[int]:
    """Say of every session that it has ended."""
    return frozenset()


async def asked(box: RunningBox, wish: Order, ask: str) -> None:
    """Let one core after the other do what is asked, until one of them comes to its end."""
    site = site_of(box)
    while True:
        with ThreadPoolExecutor(1) as executor:
            apis = RouterApis(executor)
            try:
                if ask == "tidy":
                    await apis.tidy([site], none_open)
                    if not any(row.get("comment", "").startswith(LINE_TAG) for row in box.rows(LISTS)):
                        return
                    continue
                work: Callable[[Site, Order], Awaitable[OutcomeKind]] = getattr(apis, ask)
                if await work(site, wish) in DONE:
                    return
            finally:
                apis.close()


def played(scenario: Scenario, faults: ApiFaults = SOUND) -> tuple[End, int]:
    """Return who is listed and on line in the end, and how many commands it took."""

    async def story(box: RunningBox) -> int:
        async with asyncio.timeout(SECONDS):
            if scenario.before is not None:
                await asked(box, wished(scenario.before), "change")
            commands = box.box.commands
            box.fail(faults)
            await asked(box, wished(scenario.wanted), scenario.ask)
            return box.box.commands - commands

    with running_box() as box:
        limit = RateLimit(Pair(M, M))
        box.open(ActiveSession(acct_session_id="81300001", login="user1", address="10.7.0.1", rate_limit=limit))
        if scenario.taken:
            box.enter(LISTS, {"list": "vip", "address": "10.7.0.1", "comment": "the boss"})
        commands = asyncio.run(story(box))
        listed = sorted((row["list"], row["address"], row.get("comment", "")) for row in box.rows(LISTS))
        return (listed, box.sessions()), commands


@pytest.mark.parametrize("faults", FAULTS, ids=["unheard", "unanswered", "fatal"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_broken_off_at_any_command_another_core_comes_to_the_same_end(name: str, faults: ApiFaults) -> None:
    scenario = SCENARIOS[name]
    end, commands = played(scenario)
    for done in range(commands):
        assert played(scenario, replace(faults, after=done))[0] == end, f"cut at command {done}"


def test_a_line_is_taken_from_one_list_to_the_other_and_what_an_operator_listed_stays() -> None:
    (listed, sessions), _ = played(SCENARIOS["beside an entry of the operator"])
    assert listed == [("garden", "10.7.0.1", "caudal-line:1 user1"), ("vip", "10.7.0.1", "the boss")]
    assert sessions == ["81300001"]
