"""Logins where rules, an account or an operator have a say, over the real lane and a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.drops import Drop
from daemon.logins import LoginLane
from domain.instants import SECOND_US, Microseconds
from enforcement.admission import RefusalReason
from enforcement.refusals import STRANGER_PATIENCE, STRANGER_SECONDS
from radius import chap, class_token
from radius.codes import Code
from radius.packet import Packet, attribute, decode, encode_request, integer_attribute, vendor_attribute
from storage import admissions
from storage.pipeline import QUERY_SECONDS, PipelineConnection
from tests.integration.login_isp import AUTHENTICATOR, SECRET, VAULT, Answer, Isp, access, mac, provided

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
GB = 10**9
GARDEN = {"policy": "walled-garden", "address_list": "unpaid", "redirect_url": "https://pay.example", "download": "64k"}
RATES: dict[str, Any] = {"download_bits_per_second": 20_000_000, "upload_bits_per_second": 10_000_000}
DAY, HOUR = 86_400, 3600


@pytest.fixture
def isp(database_dsn: str) -> Iterator[Isp]:
    with provided(database_dsn, int(NOON.timestamp()) * SECOND_US) as lent:
        lent.execute("UPDATE isp SET timezone = 'UTC'")
        yield lent


def ruled(isp: Isp, rules: dict[str, Any], name: str = "home", **columns: object) -> int:
    """Make a plan with rules in the words of a file."""
    return isp.plan(name, rules=json.dumps(rules), **{**RATES, **columns})


def use(isp: Isp, service: int, octets: int) -> None:
    """Let the meter of a service say that so much was downloaded this month."""
    month = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * SECOND_US
    usage = {name: [month, 0, octets, 0] for name in ("day", "week", "month")} | {"sessions": 0}
    isp.execute(
        "INSERT INTO meter (service_id, as_of, usage) VALUES (%s, %s, %s)"
        " ON CONFLICT (service_id) DO UPDATE SET usage = excluded.usage",
        service,
        NOON - timedelta(minutes=1),
        json.dumps(usage),
    )


def rate_limit(answer: Answer) -> str | None:
    value = None if answer.reply is None else answer.reply.vendor(14988, 8)
    return None if value is None else value.decode()


def address_list(answer: Answer) -> bytes | None:
    return None if answer.reply is None else answer.reply.vendor(14988, 19)


def token(answer: Answer) -> class_token.ClassToken:
    found = class_token.parse(VAULT.derive(b"class"), answer.get(25) or b"")
    assert found is not None
    return found


def reasons(isp: Isp) -> list[str]:
    return [reason for (reason,) in isp.execute("SELECT reason FROM refusal ORDER BY id")]


def test_a_plan_without_rules_leaves_no_fingerprint(isp: Isp) -> None:
    isp.service("alice", isp.plan(**RATES))
    (answer,) = isp.login(access("alice"))
    assert (rate_limit(answer), token(answer).fingerprint) == ("10M/20M", bytes(8))


def test_burst_priority_and_guarantee_are_in_the_answer(isp: Isp) -> None:
    rules = {"burst": {"limit_percent": 150, "threshold_percent": 80, "seconds": 16}, "priority": 5}
    isp.service("alice", ruled(isp, {**rules, "guaranteed_percent": 10, "address_list": "fibre"}))
    (answer,) = isp.login(access("alice"))
    assert rate_limit(answer) == "10M/20M 15M/30M 8M/16M 16/16 5 1M/2M"
    assert address_list(answer) == b"fibre"
    assert token(answer).fingerprint != bytes(8)


def test_the_fingerprint_tells_what_the_login_was_given(isp: Isp) -> None:
    plan = ruled(isp, {"cap": {"octets": "100G", "action": "fixed", "download": "2M", "upload": "1M"}})
    for name in ("alice", "bob", "carol"):
        isp.service(name, plan)
    use(isp, 3, 100 * GB)
    alice, bob, carol = isp.login(*[access(name) for name in ("alice", "bob", "carol")])
    assert rate_limit(carol) == "1M/2M"
    assert token(alice).fingerprint == token(bob).fingerprint != token(carol).fingerprint


def test_a_reached_cap_refuses_where_it_blocks(isp: Isp) -> None:
    service = isp.service("alice", ruled(isp, {"cap": {"octets": "100G"}}))
    use(isp, service, 100 * GB)
    (answer,) = isp.login(access("alice"))
    assert (answer.code, answer.get(18)) == (Code.ACCESS_REJECT, b"Data allowance used up")
    assert reasons(isp) == ["cap_reached"]


@pytest.mark.parametrize(
    ("state", "message", "reason"),
    [("blocked", b"Account blocked", "blocked"), ("no_balance", b"No balance left", "no_balance")],
)
def test_an_account_that_may_not_be_served_is_refused(isp: Isp, state: str, message: bytes, reason: str) -> None:
    plan = isp.plan()
    isp.service("alice", plan, account_state=state)
    isp.service("bob", plan)
    alice, bob = isp.login(access("alice"), access("bob"))
    assert (alice.code, alice.get(18), bob.code) == (Code.ACCESS_REJECT, message, Code.ACCESS_ACCEPT)
    assert reasons(isp) == [reason]


def test_a_blocked_account_does_not_tell_who_guesses(isp: Isp) -> None:
    isp.service("alice", isp.plan(), account_state="blocked")
    (answer,) = isp.login(access("alice", password="wrong"))
    assert answer.get(18) == b"Login incorrect"
    assert reasons(isp) == ["wrong_password"]


def test_a_blocked_account_is_let_into_the_walled_garden(isp: Isp) -> None:
    isp.execute("UPDATE isp SET blocking = %s", json.dumps(GARDEN))
    own = vendor_attribute(14988, 8, b"50M/50M") + vendor_attribute(14988, 3, b"gold")
    service = isp.service("alice", isp.plan(**RATES), account_state="blocked", reply_octets=own, address="10.0.0.7")
    (answer,) = isp.login(access("alice"))
    assert answer.code == Code.ACCESS_ACCEPT
    assert answer.reply is not None
    assert (rate_limit(answer), address_list(answer)) == ("10M/64k", b"unpaid")
    assert answer.reply.vendor(14122, 4) == b"https://pay.example"
    assert answer.reply.vendor(14988, 3) == b"gold", "what does not concern the garden stays"
    assert answer.address == "10.0.0.7"
    assert token(answer).service_id == service
    assert token(answer).fingerprint != bytes(8)
    assert reasons(isp) == []


def test_the_gardens_pool_stands_for_every_address_of_the_services_own(isp: Isp) -> None:
    isp.execute("UPDATE isp SET blocking = %s", json.dumps({"policy": "walled-garden", "pool": "garden"}))
    pooled = isp.plan(pool_id=isp.pool("p", "100.64.0.0", "100.64.0.9"))
    isp.service("leased", pooled, account_state="blocked")
    isp.service("static", pooled, account_state="blocked", address="10.0.0.7")
    isp.service("own", pooled, account_state="blocked", reply_octets=attribute(8, bytes((10, 0, 0, 8))))
    for answer in isp.login(*[access(name) for name in ("leased", "static", "own")]):
        assert answer.get(88) == b"garden"
        assert answer.address is None
    assert isp.value("SELECT count(*) FROM lease") == 0


def test_a_garden_that_the_router_does_not_know_keeps_nobody_in(isp: Isp) -> None:
    isp.execute("UPDATE router SET profile = 'cisco'")
    isp.execute("UPDATE isp SET blocking = %s", json.dumps({**GARDEN, "unknown": "walled-garden"}))
    isp.service("alice", isp.plan(**RATES), account_state="blocked")
    answers = isp.login(access("alice"), access("nobody"))
    assert [answer.code for answer in answers] == [Code.ACCESS_REJECT] * 2
    assert sorted(reasons(isp)) == ["blocked", "unknown_user"]


def test_outside_the_allowed_hours_nobody_comes_in_and_inside_the_session_ends_with_them(isp: Isp) -> None:
    isp.service("day", ruled(isp, {"allowed_hours": ["08:00-20:00"]}))
    isp.service("night", ruled(isp, {"allowed_hours": ["20:00-08:00"]}, name="night"))
    day, night = isp.login(access("day"), access("night"))
    assert (day.code, day.integer(27)) == (Code.ACCESS_ACCEPT, 8 * HOUR)
    assert (night.code, night.get(18)) == (Code.ACCESS_REJECT, b"Not available at this hour")
    assert reasons(isp) == ["outside_hours"]


def test_the_last_instant_of_the_hours_is_a_second_long(isp: Isp) -> None:
    isp.service("day", ruled(isp, {"allowed_hours": ["08:00-20:00"]}))
    isp.later(8 * HOUR - 0.2)
    (answer,) = isp.login(access("day"))
    assert answer.integer(27) == 1


def test_the_shortest_of_hours_plan_expiry_and_lease_bounds_the_session(isp: Isp) -> None:
    hours = {"allowed_hours": ["08:00-20:00"]}
    pool = isp.pool("leased", "100.64.0.0", "100.64.0.255", lease_seconds=1800)
    isp.service("plan", ruled(isp, hours, session_timeout_seconds=2 * HOUR))
    isp.service("expiry", ruled(isp, hours, name="2"), expires_at=NOON + timedelta(hours=1))
    isp.service("lease", ruled(isp, hours, name="3", pool_id=pool))
    isp.service("own", ruled(isp, hours, name="4"), reply_octets=integer_attribute(27, 600))
    answers = isp.login(*[access(name) for name in ("plan", "expiry", "lease", "own")])
    assert [answer.integer(27) for answer in answers] == [2 * HOUR, HOUR, 1800, 600]


def test_an_operators_order_counts_for_a_plan_without_rules_too(isp: Isp) -> None:
    service = isp.service("alice", isp.plan(**RATES))
    isp.execute(
        "INSERT INTO override (service_id, change, operator, reason, made_at) VALUES (%s, %s, 'ana', 'test', now())",
        service,
        json.dumps({"kind": "percent", "percent": 50}),
    )
    (answer,) = isp.login(access("alice"))
    assert rate_limit(answer) == "5M/10M"


def test_a_rule_goes_before_a_services_own_rate_and_the_plan_behind_it(isp: Isp) -> None:
    plan = ruled(isp, {"cap": {"octets": "100G", "action": "fixed", "download": "2M", "upload": "1M"}})
    own = vendor_attribute(14988, 8, b"50M/50M")
    isp.service("alice", plan, reply_octets=own)
    isp.service("bob", plan, reply_octets=own)
    use(isp, 2, 100 * GB)
    alice, bob = isp.login(access("alice"), access("bob"))
    assert (rate_limit(alice), rate_limit(bob)) == ("50M/50M", "1M/2M")


def test_templates_of_the_plan_speak_of_the_line(isp: Isp) -> None:
    isp.service("alice", ruled(isp, {"attributes": {"Filter-Id": "{login}-{plan}-{download_kbit}"}}))
    (answer,) = isp.login(access("EXAMPLE\\alice"))
    assert answer.get(11) == b"alice-home-20000"


def test_a_template_that_gives_no_value_refuses_and_harms_nobody_else(isp: Isp) -> None:
    isp.service("a" * 250, ruled(isp, {"attributes": {"Filter-Id": "line of {login}"}}))
    isp.service("bob", isp.plan("plain"))
    alice, bob = isp.login(access("a" * 250), access("bob"))
    assert (alice.code, bob.code) == (Code.ACCESS_REJECT, Code.ACCESS_ACCEPT)
    assert reasons(isp) == ["reply_too_long"]


def test_near_a_threshold_interims_come_often_and_a_hard_cap_has_a_backstop(isp: Isp) -> None:
    fast = {"download_bits_per_second": 100_000_000, "upload_bits_per_second": 100_000_000}
    block = {"cap": {"octets": "100G", "direction": "down"}}
    slow = {"cap": {"octets": "100G", "direction": "down", "action": "percent", "percent": 10}}
    plans: dict[str, dict[str, Any]] = {"block": block, "slow": slow, "none": {"priority": 3}}
    for place, (name, rules) in enumerate(plans.items(), 1):
        isp.service(name, ruled(isp, rules, name=name, **fast))
        use(isp, place, 90 * GB)
    answers = isp.login(*[access(name) for name in ("block", "slow", "none")])
    assert [answer.integer(85) for answer in answers] == [60, 60, 300]
    limits = [
        [None if answer.reply is None else answer.reply.vendor(14988, kind) for kind in (2, 15)] for answer in answers
    ]
    beyond = 45 * 100_000_000 // 8
    low, high = (10 * GB + beyond) % 2**32, (10 * GB + beyond) >> 32
    assert limits == [[low.to_bytes(4), high.to_bytes(4)], [None, None], [None, None]]


def test_places_and_leases_are_given_to_lines_with_rules_too(isp: Isp) -> None:
    pool = isp.pool("p", "100.64.0.0", "100.64.0.9")
    service = isp.service("alice", ruled(isp, {"cap": {"octets": "100G"}}, simultaneous=1, pool_id=pool))

    async def scenario(lane: LoginLane) -> None:
        first, second = await isp.settle(lane, access("alice", client=mac(1)), access("alice", client=mac(2)))
        assert {first.code, second.code} == {Code.ACCESS_ACCEPT, Code.ACCESS_REJECT}
        use(isp, service, 100 * GB)
        (refused,) = await isp.settle(lane, access("alice", client=mac(1)))
        assert refused.get(18) == b"Data allowance used up"

    isp.run(scenario)
    assert isp.value("SELECT count(*) FROM lease") == 1


def strangers(isp: Isp) -> None:
    """Let unknown names and wrong passwords into the garden."""
    garden = {**GARDEN, "policy": "reject", "unknown": "walled-garden", "wrong_password": "walled-garden"}
    isp.execute("UPDATE isp SET blocking = %s", json.dumps(garden))
    isp.service("alice", isp.plan(**RATES), address="10.0.0.7")


def test_who_is_not_known_is_let_into_the_garden_and_written_down(isp: Isp) -> None:
    strangers(isp)
    for answer in isp.login(access("nobody", integer_attribute(7, 1)), access("alice", password="wrong")):
        assert answer.code == Code.ACCESS_ACCEPT
        assert (rate_limit(answer), address_list(answer)) == ("0/64k", b"unpaid")
        assert answer.integer(27) == STRANGER_SECONDS
        assert answer.address is None, "nothing of the service is given to who cannot prove to be it"
        assert token(answer).service_id is None
    (known,) = isp.login(access("alice"))
    assert (rate_limit(known), known.address) == ("10M/20M", "10.0.0.7")
    assert reasons(isp) == ["unknown_user", "wrong_password"]


def test_a_plan_may_keep_wrong_passwords_out_of_the_garden(isp: Isp) -> None:
    strangers(isp)
    isp.service("bob", ruled(isp, {"blocking": {"policy": "reject"}}, name="strict"))
    (answer,) = isp.login(access("bob", password="wrong"))
    assert answer.code == Code.ACCESS_REJECT


def challenged(login: str, password: str) -> Packet:
    """Return a CHAP request."""
    identifier, challenge = 7, bytes(16)
    response = chap.response(identifier, challenge, password.encode())
    attributes = attribute(1, login.encode()) + attribute(3, bytes((identifier,)) + response) + attribute(60, challenge)
    return decode(encode_request(1, 9, attributes, SECRET, authenticator=AUTHENTICATOR))


def test_ms_chap_has_no_garden_because_its_client_wants_a_proof(isp: Isp) -> None:
    strangers(isp)
    microsoft = vendor_attribute(311, 11, bytes(16)) + vendor_attribute(311, 25, bytes(50))
    request = decode(encode_request(1, 8, attribute(1, b"nobody") + microsoft, SECRET, authenticator=AUTHENTICATOR))
    by_ms_chap, by_chap = isp.login(request, challenged("nobody", "any"))
    assert (by_ms_chap.code, by_chap.code) == (Code.ACCESS_REJECT, Code.ACCESS_ACCEPT)


def test_who_keeps_guessing_is_kept_out_of_the_garden_and_not_out_of_the_network(isp: Isp) -> None:
    strangers(isp)

    async def scenario(lane: LoginLane) -> None:
        codes = []
        for _ in range(STRANGER_PATIENCE + 2):
            (answer,) = await isp.settle(lane, access("alice", password="wrong"))
            codes.append(answer.code)
        assert codes == [Code.ACCESS_ACCEPT] * STRANGER_PATIENCE + [Code.ACCESS_REJECT] * 2
        (right,) = await isp.settle(lane, access("alice"))
        assert right.code == Code.ACCESS_ACCEPT
        isp.later(60)
        (answer,) = await isp.settle(lane, access("alice", password="wrong"))
        assert answer.code == Code.ACCESS_ACCEPT
        assert lane.refused == {RefusalReason.WRONG_PASSWORD: STRANGER_PATIENCE + 3}
        assert lane.accepted == 1

    isp.run(scenario)


class DeletingConnection(PipelineConnection):
    """Deletes every service between the two reads of a batch."""

    async def query(self, sql: str, *, seconds: float = QUERY_SECONDS) -> list[Any]:
        if sql.startswith("EXECUTE login_standing"):
            await super().query("DELETE FROM service")
        return await super().query(sql, seconds=seconds)


def test_a_service_that_is_deleted_meanwhile_is_left_to_the_retransmission(isp: Isp) -> None:
    isp.service("alice", ruled(isp, {"cap": {"octets": "100G"}}))

    async def scenario(_: LoginLane) -> None:
        connection = DeletingConnection(isp.dsn, admissions.PREPARED, application_name="logins")
        lane = LoginLane(connection, VAULT, lambda: isp.snapshot, lambda: Microseconds(isp.now_us), None)
        await lane.open()
        (answer,) = await isp.settle(lane, access("alice"))
        assert answer.given_up is Drop.PLAN_UNKNOWN
        (answer,) = await isp.settle(lane, access("alice"))
        assert answer.code == Code.ACCESS_REJECT
        await lane.close()

    isp.run(scenario)
