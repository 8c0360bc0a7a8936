"""The keeper of routers against a box that speaks RouterOS's protocol over TLS, and a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
import sqlalchemy
import structlog

from daemon.enforcement_orders import Order
from daemon.enforcement_routers import Site, find_site
from domain.instants import SECOND_US, Microseconds
from enforcement.entitlement import Refusal, entitle
from enforcement.line_change import Wish
from enforcement.reconcile import LineState, OutcomeKind
from radius.dynamic_authorization import SessionNames
from simulator.rate_limit import Pair, RateLimit
from simulator.routeros_faults import SOUND, ApiFaults, Mishap
from simulator.routeros_sessions import ActiveSession
from simulator.routeros_state import reset_counters
from storage import standings
from tests.integration.kept_router import (
    LAZY,
    LISTS,
    PROMPT,
    QUEUES,
    SECONDS,
    Kept,
    kept,
    now,
    order,
    provision,
    rows,
    town,
    until,
)
from tests.unit.enforcement.entitled import entitled
from tests.unit.simulator.routeros_box import PASSWORD, RunningBox, running_box

LEASES = "/ip/dhcp-server/lease"
MANY = 500
M = 1_000_000


@pytest.fixture
def box() -> Iterator[RunningBox]:
    """Lend a box."""
    with running_box() as running:
        yield running


def play(story: Coroutine[Any, Any, None]) -> None:
    """Run a story."""

    async def bounded() -> None:
        async with asyncio.timeout(3 * SECONDS):
            await story

    asyncio.run(bounded())


def queues(box: RunningBox) -> dict[str, dict[str, str]]:
    """Return the queues that are not the box's own, by name."""
    return {row["name"]: row for row in box.rows(QUEUES)}


def change_by_hand(box: RunningBox, name: str) -> None:
    """Let an operator give a queue another rate."""
    table = box.box.state.tables[QUEUES]
    box.do(lambda: table.set(table.find(name), {"max-limit": "99M/99M"}, Microseconds(0)))


def session(login: str, address: str, number: int = 1, *, seconds: int = 120, limit: int | None = M) -> ActiveSession:
    """Return a PPP session that RADIUS let in so many seconds ago."""
    return ActiveSession(
        acct_session_id=f"8130{number:04x}",
        login=login,
        address=address,
        started_us=Microseconds(time.time_ns() // 1000 - seconds * SECOND_US),
        rate_limit=None if limit is None else RateLimit(Pair(limit, limit)),
    )


def open_in_books(engine: sqlalchemy.Engine, number: int, acct_session_id: str, login: str = "dialler") -> None:
    """Enter a session that was heard of two minutes ago."""
    order(
        engine,
        [
            f"""INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login,
                address, state, started_at, updated_at, heard_at, session_seconds, octets_up, octets_down, base_up,
                base_down, gigawords)
            SELECT {number}, r.id, '', '{acct_session_id}', 0, 1, s.id, s.login, '10.8.0.{number}', 0,
                now() - interval '2 minutes', now() - interval '2 minutes', now() - interval '2 minutes', 0, 0, 0, 0,
                0, true
            FROM router AS r, service AS s WHERE r.name = 'norte' AND s.login = '{login}'"""
        ],
    )


STATES = "SELECT acct_session_id, state, terminate_cause FROM session ORDER BY acct_session_id"


# Entries


def test_static_services_get_their_queues_below_what_they_share(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, aggregation=2, address_list="homes"))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            in_force = await running.visited()
            assert in_force is not None
            assert len(in_force) == 3

    play(story())
    held = queues(box)
    assert held["home 1:2"]["max-limit"] == "7500000/15000000"
    assert (held["line1"]["max-limit"], held["line1"]["parent"]) == ("5000000/10000000", "home 1:2")
    assert {(row["list"], row["address"]) for row in box.rows(LISTS)} == {
        ("homes", f"10.7.0.{number}") for number in (1, 2, 3)
    }


def test_pcq_divides_one_queue_among_equal_lines(box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str) -> None:
    provision(engine, town(box, queues="pcq", services=50))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            assert len(await running.visited() or {}) == 50

    play(story())
    assert len(box.rows(QUEUES)) == 1


def test_five_hundred_queues_from_nothing_and_one_that_changes(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, services=MANY))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            began = time.monotonic()
            await running.visited()
            assert time.monotonic() - began <= 5
            assert len(queues(box)) == MANY
            blocked = rows(engine, "SELECT id FROM service WHERE login = 'line7'")[0][0]
            order(engine, [f"UPDATE service SET account_state = 'blocked' WHERE id = {blocked}"])
            began = time.monotonic()
            running.keepers.services_changed([blocked])
            await until(lambda: queues(box)["line7"]["max-limit"] == "1000/1000")
            assert time.monotonic() - began <= 2

    play(story())


def test_a_new_plan_rate_reaches_the_router_with_its_configuration(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            provision(engine, town(box, rate="20M"))
            await running.take_over()
            await until(lambda: queues(box)["line1"]["max-limit"] == "5000000/20000000")

    play(story())


def test_nothing_is_decided_by_a_configuration_that_is_not_known_yet(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            order(engine, ["UPDATE configuration_revision SET revision = revision + 1"])
            assert await running.visited() is None
            await running.take_over()
            assert len(await running.visited() or {}) == 3

    play(story())
    assert len(queues(box)) == 3


def test_a_service_of_radius_gets_no_queue_of_ours(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    open_in_books(engine, 1, "81300001", "line1")
    box.open(session("line2", "10.7.0.2", 2))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()

    play(story())
    assert {name for name, row in queues(box).items() if row["dynamic"] == "false"} == {"line3"}


def test_a_tagged_lease_carries_the_rate_instead_of_a_queue(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    number = rows(engine, "SELECT id FROM service WHERE login = 'line1'")[0][0]
    lease = {"address": "10.7.0.1", "mac-address": "02:00:00:00:00:01", "comment": f"caudal:service-{number} Ana"}
    box.enter("/ip/dhcp-server/lease", lease)

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()

    play(story())
    assert box.rows("/ip/dhcp-server/lease")[0]["rate-limit"] == "5M/10M"
    assert "line1" not in queues(box)
    assert "line2" in queues(box)


def test_what_is_not_ours_is_never_touched(box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str) -> None:
    provision(engine, town(box))
    box.enter(QUEUES, {"name": "office", "target": "10.9.0.0/24", "comment": "the boss"})
    box.enter(QUEUES, {"name": "left over", "target": "10.9.1.0/24", "comment": "caudal:service-99"})

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()

    play(story())
    assert set(queues(box)) == {"office", "line1", "line2", "line3"}


@pytest.mark.parametrize("repair", [True, False])
def test_drift_is_shown_and_repaired_or_left(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, repair: bool
) -> None:
    provision(engine, town(box, repair_drift=repair))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            change_by_hand(box, "line2")
            with structlog.testing.capture_logs() as logs:
                await running.visited()
                await running.visited()
            told = [line for line in logs if line["event"] == "router entry changed by hand"]
            assert [(line["property"], line["found"]) for line in told] == [("max-limit", "99000000/99000000")]
            assert running.keepers.counts.drifts["norte"] == 1
            assert running.keepers.now().drifted == {"norte": 0 if repair else 1}
            assert queues(box)["line2"]["max-limit"] == ("5000000/10000000" if repair else "99000000/99000000")

    play(story())


def test_a_line_that_is_blocked_is_blocked_also_where_drift_is_left(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, repair_drift=False))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            change_by_hand(box, "line2")
            order(engine, ["UPDATE service SET account_state = 'blocked' WHERE login = 'line2'"])
            await running.visited()
            assert queues(box)["line2"]["max-limit"] == "1000/1000"
            assert [row["list"] for row in box.rows(LISTS)] == ["caudal-blocked"]

    play(story())


def test_after_a_reboot_nothing_has_to_be_written_again(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            written = running.keepers.counts.written["norte"]
            box.reboot()
            await running.visited()
            assert running.keepers.counts.written["norte"] == written
            assert len(queues(box)) == 3

    play(story())


def lose_entries(box: RunningBox) -> None:
    """Let the box come up with a configuration in which two queues are missing and one has another rate."""

    def lose() -> None:
        table = box.box.state.tables[QUEUES]
        table.remove(table.find("line1") + table.find("line3"))
        table.set(table.find("line2"), {"max-limit": "99M/99M"}, Microseconds(0))

    box.do(lose)


def rates(box: RunningBox) -> dict[str, str]:
    """Return the rate of each queue."""
    return {name: row["max-limit"] for name, row in queues(box).items()}


def let_it_have_run(box: RunningBox, seconds: int) -> None:
    """Let the box have started so long ago."""

    def age() -> None:
        box.box.state.booted_us = Microseconds(box.box.state.booted_us - seconds * SECOND_US)

    box.do(age)


@pytest.mark.parametrize("repair", [True, False])
def test_a_router_that_came_back_from_an_old_backup_is_set_right_within_seconds(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, repair: bool
) -> None:
    provision(engine, town(box, repair_drift=repair))
    let_it_have_run(box, 1000)

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            before = rates(box)
            lose_entries(box)
            with structlog.testing.capture_logs() as logs:
                began = time.monotonic()
                box.reboot()
                await until(lambda: rates(box) == before)
                assert time.monotonic() - began <= 10
                await until(lambda: any(line["event"] == "router has started again" for line in logs))
            assert running.keepers.counts.drifts["norte"] == 0, "nobody changed it by hand"
            assert running.keepers.now().drifted == {"norte": 0}

    play(story())


def test_a_connection_that_ended_without_a_restart_is_a_reason_to_look(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    let_it_have_run(box, 1000)

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            change_by_hand(box, "line2")
            box.do(box.box.drop_connections)
            await until(lambda: running.keepers.counts.drifts["norte"] == 1)
            assert queues(box)["line2"]["max-limit"] == "5000000/10000000"

    play(story())


def test_a_router_that_ends_every_idle_connection_is_not_visited_in_a_circle(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            visits = 0
            began = time.monotonic()
            while time.monotonic() - began < 1:
                looked = running.keeper.knowledge.looked_at if running.keepers._keepers else None
                box.do(box.box.drop_connections)
                await asyncio.sleep(0.01)
                visits += bool(looked) and running.keeper.knowledge.looked_at != looked
            assert visits <= 1

    play(story())


@pytest.mark.parametrize("takes_effect", [False, True])
@pytest.mark.parametrize("after", range(4))
def test_a_visit_that_is_cut_off_at_any_write_is_made_again(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, after: int, takes_effect: bool
) -> None:
    provision(engine, town(box, address_list="homes"))
    at = f"{QUEUES}/add" if after < 3 else f"{LISTS}/add"
    box.fail(ApiFaults(Mishap.CUT, at=at, after=after % 3, times=1, takes_effect=takes_effect))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await until(lambda: running.keepers.counts.troubles["norte", "broken"] == 1)
            await until(lambda: running.keeper.knowledge.proven is not None)

    play(story())
    assert (len(queues(box)), len(box.rows(LISTS))) == (3, 3)


def test_a_router_that_was_away_converges_when_it_is_back(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    box.fail(ApiFaults(refuses_logins=True))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await until(lambda: running.keepers.now().away == ("norte",))
            assert "refuses the login" in (running.keeper.knowledge.trouble or "")
            assert await running.visited() is None
            box.fail(SOUND)
            began = time.monotonic()
            await until(lambda: len(queues(box)) == 3)
            await until(lambda: running.keepers.now().away == ())
            assert time.monotonic() - began < 30

    play(story())


def test_a_certificate_that_is_not_the_routers_ends_the_conversation_before_the_password(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, fingerprint=":".join(["AB"] * 32)))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await until(lambda: running.keepers.counts.troubles["norte", "certificate"] > 0)
            assert box.box.commands == 0

    play(story())


def test_no_log_ever_holds_the_password(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    provision(engine, town(box, password="wrong-and-secret-horse"))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await until(lambda: running.keepers.counts.troubles["norte", "login_refused"] > 0)

    with structlog.testing.capture_logs() as logs:
        play(story())
    assert any(line["event"] == "the API of a router cannot be used" for line in logs)
    for secret in ("wrong-and-secret-horse", PASSWORD):
        assert secret not in repr(logs)
        assert secret not in caplog.text


def test_a_router_that_is_configured_no_longer_is_left_alone(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            order(
                engine,
                [
                    "UPDATE router SET api_user = NULL, queues = 'none'",
                    "UPDATE configuration_revision SET revision = revision + 1",
                ],
            )
            await running.take_over()
            await until(lambda: not running.keepers._keepers)
            await until(lambda: box.do(lambda: box.box.connections) == 0)

    play(story())
    assert len(queues(box)) == 3


# Sessions


def test_a_ghost_is_closed_at_the_second_look_and_no_other_session(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    open_in_books(engine, 1, "81300001")
    open_in_books(engine, 2, "81300002")
    box.open(session("dialler", "10.8.0.2", 2))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: running.keepers.counts.ghosts_closed == 1)

    play(story())
    assert rows(engine, STATES) == [("81300001", 2, "NAS-Session-Unknown"), ("81300002", 0, None)]


def test_one_look_alone_closes_nothing(box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str) -> None:
    provision(engine, town(box))
    open_in_books(engine, 1, "81300001")

    async def story() -> None:
        async with kept(engine, database_dsn, LAZY) as running:
            await running.visited()
            await until(lambda: bool(running.keeper._suspects))

    play(story())
    assert rows(engine, STATES) == [("81300001", 0, None)]


def test_a_router_that_does_not_say_who_is_on_line_makes_no_ghosts(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    open_in_books(engine, 1, "81300001")
    box.fail(ApiFaults(Mishap.TRAP, at="/ppp/active/print"))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await running.visited()
            looks = box.box.commands
            await until(lambda: box.box.commands > looks + 60)
            assert running.keepers.counts.ghosts_closed == 0
            box.fail(SOUND)
            await until(lambda: running.keepers.counts.ghosts_closed == 1)

    play(story())


def test_a_change_that_time_makes_reaches_the_router_by_itself(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    order(engine, ["UPDATE service SET expires_at = now() + interval '2 seconds' WHERE login = 'line3'"])

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            assert queues(box)["line3"]["max-limit"] == "5000000/10000000"
            await until(lambda: queues(box)["line3"]["max-limit"] == "1000/1000")

    play(story())


def test_a_session_whose_start_was_lost_is_adopted_from_its_beginning(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    box.open(session("dialler", "10.8.0.7", 7, seconds=600))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: running.keepers.counts.sessions_adopted == 1)
            await until(lambda: running.keeper.knowledge.looked_at is not None)

    play(story())
    found = rows(
        engine,
        """SELECT x.acct_session_id, x.state, host(x.address), s.login,
            extract(epoch FROM now() - x.started_at) BETWEEN 590 AND 640
        FROM session AS x JOIN service AS s ON s.id = x.service_id""",
    )
    assert found == [("81300007", 0, "10.8.0.7", "dialler", True)]


def test_a_session_that_silence_closed_is_revived(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    open_in_books(engine, 1, "81300001")
    order(engine, ["UPDATE session SET state = 2, stopped_at = updated_at, terminate_cause = 'Lost-Carrier'"])
    box.open(session("dialler", "10.8.0.1", 1))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: running.keepers.counts.sessions_adopted == 1)

    play(story())
    assert rows(engine, STATES) == [("81300001", 0, None)]


def test_a_session_of_nobody_is_shown_and_not_adopted(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    box.open(session("stranger", "10.8.0.9", 9))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: bool(running.keepers._keepers) and bool(running.keeper.knowledge.unknown))

    play(story())
    assert rows(engine, STATES) == []


# Counters


def counted(engine: sqlalchemy.Engine) -> list[tuple[Any, ...]]:
    """Return login, octets up and octets down, of all sessions of a service together."""
    return rows(
        engine,
        """SELECT s.login, sum(x.octets_up)::bigint, sum(x.octets_down)::bigint FROM session AS x
        JOIN service AS s ON s.id = x.service_id GROUP BY s.login ORDER BY s.login""",
    )


def has_lasted(engine: sqlalchemy.Engine) -> bool:
    """Tell whether the session began in another second: ids tell whole ones, and polls are a minute apart."""
    return bool(rows(engine, "SELECT max(session_seconds) >= 2 FROM session")[0][0])


def facts(engine: sqlalchemy.Engine) -> tuple[int, int]:
    """Return the octets of all facts."""
    return rows(engine, "SELECT coalesce(sum(octets_up), 0)::bigint, coalesce(sum(octets_down), 0)::bigint"
                        " FROM usage_fact")[0]  # fmt: skip


def test_queues_are_counted_exactly_over_resets_and_restarts(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=1))

    def pass_through(up: int, down: int) -> None:
        entry = queues(box)["line1"][".id"]
        box.do(lambda: box.box.state.count_traffic(QUEUES, entry, up, down))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT):
            await until(lambda: counted(engine) == [("line1", 0, 0)])
            pass_through(1_000, 20_000)
            await until(lambda: counted(engine) == [("line1", 1_000, 20_000)])
            pass_through(5, 6)
            await until(lambda: counted(engine) == [("line1", 1_005, 20_006)] and has_lasted(engine))
            box.reboot()
            pass_through(300, 400)
            await until(lambda: counted(engine) == [("line1", 1_305, 20_406)])
        pass_through(7, 8)
        async with kept(engine, database_dsn, PROMPT):
            await until(lambda: counted(engine) == [("line1", 1_312, 20_414)])

    play(story())
    assert facts(engine) == (1_312, 20_414)
    assert [state for (state,) in rows(engine, "SELECT state FROM session ORDER BY started_at")] == [1, 0]


def order_of(engine: sqlalchemy.Engine, running: Kept, desired: bytes, *, admitted: bool = True) -> tuple[Site, Order]:
    """Return the order to bring the line of line1, which a queue counts, to `desired`."""
    service_id = rows(engine, "SELECT id FROM service WHERE login = 'line1'")[0][0]
    router = running.keeper.router
    site = find_site(running.snapshots.snapshot.routers, (router.id, ""))
    assert site is not None
    state = LineState(1, desired, now(), admitted=admitted)
    names = SessionNames(user_name="line1", acct_session_id="api-queue-*1-6b0499c0")
    wish = Wish(entitled(), now(), "line1", "home")
    return site, Order(state, service_id, router.id, router.name, "", names, wish, None, (), now(), urgent=True)


def test_a_line_that_is_counted_by_a_queue_is_proven_by_that_queue(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=1))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            (desired,) = (await running.visited() or {}).values()
            site, wished = order_of(engine, running, desired)
            assert await running.keepers.change(site, wished) is OutcomeKind.API_OK
            assert await running.keepers.read_back(site, wished) is OutcomeKind.READ_BACK_MATCHES
            site, other = order_of(engine, running, b"another!")
            assert await running.keepers.read_back(site, other) is OutcomeKind.READ_BACK_DIFFERS
            order(engine, ["UPDATE service SET account_state = 'blocked'"])
            site, blocked = order_of(engine, running, bytes(8), admitted=False)
            assert await running.keepers.kick(site, blocked) is OutcomeKind.API_OK
            assert await running.keepers.read_back(site, blocked) is OutcomeKind.GONE
            assert queues(box)["line1"]["max-limit"] == "1000/1000"
            box.fail(ApiFaults(Mishap.CUT))
            assert await running.keepers.read_back(site, blocked) is OutcomeKind.API_FAILED

    play(story())


def test_a_line_of_radius_is_read_back_over_the_same_connection(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    box.open(session("line1", "10.7.0.1", 1))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            site, wished = order_of(engine, running, b"desired!")
            names = SessionNames(user_name="line1", acct_session_id="81300001", framed_ip_address="10.7.0.1")
            wish = Wish(entitled(M, M), now(), "line1", "home")
            wished = replace(wished, names=names, wish=wish)
            assert await running.keepers.read_back(site, wished) is OutcomeKind.READ_BACK_MATCHES
            assert await running.keepers.kick(site, wished) is OutcomeKind.API_OK
            assert await running.keepers.read_back(site, wished) is OutcomeKind.GONE
            assert box.do(lambda: box.box.connections) == 1

    play(story())


def lease(box: RunningBox, **differences: str) -> str:
    """Let a DHCP client that RADIUS let in have an address; return the `.id` of its lease."""
    row = {"address": "10.7.0.9", "mac-address": "02:00:00:00:00:09", "radius": "true"} | differences
    return box.enter(LEASES, row, dynamic=True)


def of_a_lease(engine: sqlalchemy.Engine, running: Kept) -> tuple[Site, Order]:
    """Return where, and the order to give a DHCP session 1 Mbit/s each way."""
    site, wished = order_of(engine, running, b"desired!")
    names = SessionNames(user_name="02:00:00:00:00:09", acct_session_id="83300009", framed_ip_address="10.7.0.9")
    return site, replace(wished, names=names, wish=Wish(entitled(M, M), now(), "line1", "home"))


def test_a_lease_of_radius_is_read_back_and_ended_like_every_session(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    lease(box)
    theirs = lease(box, address="10.7.0.8", **{"mac-address": "02:00:00:00:00:08"})
    limit = {"name": "dhcp-ds<02:00:00:00:00:09>", "target": "10.7.0.9/32", "max-limit": "8M/8M"}
    box.enter(QUEUES, limit, dynamic=True)

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            site, wished = of_a_lease(engine, running)
            assert await running.keepers.read_back(site, wished) is OutcomeKind.READ_BACK_DIFFERS
            obeyed = replace(wished, wish=Wish(entitled(8 * M, 8 * M), now(), "line1", "home"))
            assert await running.keepers.read_back(site, obeyed) is OutcomeKind.READ_BACK_MATCHES
            assert await running.keepers.kick(site, wished) is OutcomeKind.API_OK
            assert await running.keepers.read_back(site, wished) is OutcomeKind.GONE
            assert await running.keepers.kick(site, wished) is OutcomeKind.GONE

    play(story())
    assert [row[".id"] for row in box.rows(LEASES)] == [theirs]


def test_a_hotspot_host_that_a_mac_let_in_is_found_by_its_user_name_and_ended(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box))
    box.enter("/ip/hotspot/active", {"user": "02:00:00:00:00:07", "address": "10.7.0.7"})

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            site, wished = of_a_lease(engine, running)
            names = replace(wished.names, user_name="02-00-00-00-00-07", acct_session_id="80300007")
            wished = replace(wished, names=replace(names, framed_ip_address="10.7.0.7"))
            assert await running.keepers.read_back(site, wished) is OutcomeKind.READ_BACK_DIFFERS
            assert await running.keepers.kick(site, wished) is OutcomeKind.API_OK
            assert await running.keepers.read_back(site, wished) is OutcomeKind.GONE

    play(story())


@pytest.mark.parametrize("menu", ["/ppp/active", LEASES])
def test_a_menu_that_a_router_refuses_to_show_ends_no_session(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str, menu: str
) -> None:
    provision(engine, town(box))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
            box.fail(ApiFaults(Mishap.BARE_TRAP, at=f"{menu}/print"))
            site, wished = of_a_lease(engine, running)
            number = "81300001" if menu == "/ppp/active" else "83300009"
            wished = replace(wished, names=replace(wished.names, acct_session_id=number))
            assert await running.keepers.read_back(site, wished) is OutcomeKind.API_FAILED
            assert await running.keepers.kick(site, wished) is OutcomeKind.API_FAILED

    play(story())


def test_what_a_queue_carried_before_it_was_first_read_is_nobodys(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, services=1))

    async def story() -> None:
        async with kept(engine, database_dsn) as running:
            await running.visited()
        entry = queues(box)["line1"][".id"]
        box.do(lambda: box.box.state.count_traffic(QUEUES, entry, 111, 222))
        provision(engine, town(box, services=1, api_accounting=True))
        async with kept(engine, database_dsn, PROMPT):
            await until(lambda: counted(engine) == [("line1", 0, 0)])
            box.do(lambda: box.box.state.count_traffic(QUEUES, entry, 1, 2))
            await until(lambda: counted(engine) == [("line1", 1, 2)])

    play(story())


def test_records_that_could_not_be_booked_are_booked_with_the_next_poll(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=1))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: counted(engine) == [("line1", 0, 0)] and has_lasted(engine))
            entry = queues(box)["line1"][".id"]
            order(engine, ["ALTER TABLE usage_fact RENAME TO usage_fact_away"])
            box.do(lambda: box.box.state.count_traffic(QUEUES, entry, 10, 20))
            with structlog.testing.capture_logs() as logs:
                await until(lambda: any("not booked" in line["event"] for line in logs))
            box.reboot()
            order(engine, ["ALTER TABLE usage_fact_away RENAME TO usage_fact"])
            box.do(lambda: box.box.state.count_traffic(QUEUES, entry, 3, 4))
            await until(lambda: counted(engine) == [("line1", 13, 24)])
            assert running.keepers.counts.records_counted > 0

    play(story())
    assert facts(engine) == (13, 24)


# Classes

UNCOUNTED = """
[plan.cap]
octets = "10k"
action = "block"

[[plan.class]]
name = "local"
counts = false
queue = "{login} local"

[[plan.class]]
name = "peering"
counts = false
interface_list = "IX"
"""
BY_CLASS = """SELECT f.traffic_class, sum(f.octets_up)::bigint, sum(f.octets_down)::bigint FROM usage_fact AS f
    JOIN service AS s ON s.id = f.service_id WHERE s.login = :login GROUP BY 1 ORDER BY 1"""


def by_class(engine: sqlalchemy.Engine, login: str) -> list[tuple[Any, ...]]:
    """Return (class, octets up, octets down) of everything that was booked."""
    return rows(engine, BY_CLASS, login=login)


def is_capped(engine: sqlalchemy.Engine, running: Kept, login: str) -> bool:
    """Tell whether the service has used up its cap, by what is stored."""
    snapshot = running.snapshots.snapshot
    service_id = rows(engine, "SELECT id FROM service WHERE login = :login", login=login)[0][0]
    with engine.connect() as connection:
        (loaded,) = standings.load(connection, [service_id], snapshot.plans, UTC, now()).values()
    plan = snapshot.plans[loaded.contract.plan_id]
    return entitle(plan, plan.rules, snapshot.blocking, loaded.standing, UTC, now()).refusal is Refusal.CAP


def let_through(box: RunningBox, name: str, up: int, down: int) -> None:
    """Let octets pass through a queue and those above it."""
    box.do(lambda: box.box.state.count_traffic(QUEUES, name, up, down))


def reset(box: RunningBox, name: str) -> None:
    """Let an operator set the counters of a queue to nothing."""
    table = box.box.state.tables[QUEUES]
    box.do(lambda: reset_counters(table.entries[table.find(name)[0]]))


def dialled(login: str, number: int, up: int, down: int, *, seconds: int = 120) -> ActiveSession:
    """Return a session that the router let in itself."""
    return replace(session(login, "10.8.0.1", number, seconds=seconds, limit=None), octets=Pair(up, down), radius=False)


def test_class_queue_below_a_line_does_not_count_and_is_not_counted_twice(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=1, classes=UNCOUNTED))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: counted(engine) == [("line1", 0, 0)])
            box.enter(QUEUES, {"name": "line1 local", "target": "10.7.0.1/32", "parent": "line1"})
            await until(lambda: len(rows(engine, "SELECT FROM session WHERE traffic_class = 1")) == 1)
            let_through(box, "line1 local", 500_000, 700_000)
            let_through(box, "line1", 1_000, 2_000)
            await until(lambda: by_class(engine, "line1") == [(0, 1_000, 2_000), (1, 500_000, 700_000)])
            assert not is_capped(engine, running, "line1")
            reset(box, "line1 local")
            let_through(box, "line1 local", 10, 20)
            let_through(box, "line1", 1, 2)
            await until(lambda: by_class(engine, "line1") == [(0, 1_001, 2_002), (1, 500_010, 700_020)])
            reset(box, "line1")
            let_through(box, "line1", 33, 44)
            await until(lambda: by_class(engine, "line1") == [(0, 1_034, 2_046), (1, 500_010, 700_020)])
            box.reboot()
            let_through(box, "line1 local", 5, 6)
            let_through(box, "line1", 7, 8)
            await until(lambda: by_class(engine, "line1") == [(0, 1_041, 2_054), (1, 500_015, 700_026)])
        let_through(box, "line1 local", 100, 100)
        let_through(box, "line1", 8_000, 0)
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: by_class(engine, "line1") == [(0, 9_041, 2_054), (1, 500_115, 700_126)])
            assert is_capped(engine, running, "line1")

    play(story())


def test_class_queue_of_a_session_that_the_router_let_in_is_left_out_of_its_interface(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=0, classes=UNCOUNTED))
    box.enter(QUEUES, {"name": "dialler local", "target": "10.8.0.1/32", "bytes": "90000/90000"})
    box.open(dialled("dialler", 1, 100, 200))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: by_class(engine, "dialler") == [(0, 100, 200)])
            let_through(box, "dialler local", 50_000, 60_000)
            await until(lambda: by_class(engine, "dialler") == [(0, 100, 200), (1, 50_000, 60_000)])
            box.open(dialled("dialler", 1, 50_101, 60_202))
            await until(lambda: by_class(engine, "dialler") == [(0, 101, 202), (1, 50_000, 60_000)])
            assert not is_capped(engine, running, "dialler")
            box.reboot()
            let_through(box, "dialler local", 5, 6)
            box.open(dialled("dialler", 2, 8, 10, seconds=0))
            await until(lambda: by_class(engine, "dialler") == [(0, 104, 206), (1, 50_005, 60_006)])
        let_through(box, "dialler local", 10, 10)
        box.open(dialled("dialler", 2, 28, 40, seconds=0))
        async with kept(engine, database_dsn, PROMPT):
            await until(lambda: by_class(engine, "dialler") == [(0, 114, 226), (1, 50_015, 60_016)])

    play(story())


def test_session_is_of_the_class_of_the_interface_list_that_its_interface_is_in(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=0, classes=UNCOUNTED))
    box.open(dialled("dialler", 1, 70_000, 80_000))
    box.enter("/interface/list", {"name": "IX"})
    box.enter("/interface/list/member", {"list": "IX", "interface": "<pppoe-dialler>"}, dynamic=True)

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: by_class(engine, "dialler") == [(2, 70_000, 80_000)])
            assert not is_capped(engine, running, "dialler")

    play(story())


def test_class_queue_of_a_session_of_radius_is_not_read(
    box: RunningBox, engine: sqlalchemy.Engine, database_dsn: str
) -> None:
    provision(engine, town(box, api_accounting=True, services=1, classes=UNCOUNTED))
    box.enter(QUEUES, {"name": "dialler local", "target": "10.8.0.1/32"})
    box.open(session("dialler", "10.8.0.1"))

    async def story() -> None:
        async with kept(engine, database_dsn, PROMPT) as running:
            await until(lambda: counted(engine)[-1:] == [("line1", 0, 0)])
            let_through(box, "dialler local", 50, 60)
            booked = running.keepers.counts.records_counted
            await until(lambda: running.keepers.counts.records_counted > booked + 2)

    play(story())
    assert by_class(engine, "dialler") == []
    assert rows(engine, "SELECT count(*) FROM session WHERE traffic_class <> 0") == [(0,)]
