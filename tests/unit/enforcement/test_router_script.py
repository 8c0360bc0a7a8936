"""What sets a router up for us, and what is found wrong with one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from domain.secret import Secret
from enforcement.router_checks import Check, Expected, Level, Probe, RouterFacts, checks, router_time
from enforcement.router_script import ApiUser, RouterSetup, quoted, script

API = ApiUser("caudal", Secret(b"api pass"), tls=True, port=8729)
SETUP = RouterSetup(
    router="tower 3",
    server="192.0.2.1",
    secret=Secret(b"radius $ecret"),
    coa_port=1700,
    api=API,
    walled_list="garden",
    portal="192.0.2.9",
)


def place(lines: list[str], *words: str) -> int:
    """Return where the one line with all `words` stands."""
    (found,) = [at for at, line in enumerate(lines) if all(word in line for word in words) and not line.startswith("#")]
    return found


def test_no_secret_is_printed_unasked() -> None:
    text = "\n".join(script(SETUP))
    assert "$ecret" not in text
    assert "api pass" not in text
    assert "RADIUS-SECRET" in text


def test_each_secret_is_marked_and_stands_once() -> None:
    lines = script(SETUP, reveal=True)
    for line in (r'secret="radius \$ecret"', 'password="api pass"'):
        assert "SECRET" in lines[place(lines, line) - 1]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("$x?", r'"\$x\?"'),
        ("ñ", '"ñ"'),
        ("a\nb", r'"a\0Ab"'),
        ("\udcff", r'"\FF"'),
    ],
)
def test_a_text_means_itself_to_the_console(text: str, written: str) -> None:
    assert quoted(text) == written


@pytest.mark.parametrize(
    "words",
    [
        ("/radius add", "address=192.0.2.1", "authentication-port=1812", "accounting-port=1813"),
        ("/radius incoming set accept=yes port=1700",),
        ("/ppp aaa set use-radius=yes accounting=yes interim-update=300s",),
        ("radius-interim-update=received",),
        ("/user add", 'group="caudal"', "address=192.0.2.1/32"),
        ("/ip service set api-ssl certificate=",),
        ("/ip service set api disabled=yes",),
    ],
)
def test_each_setting_is_made_once(words: tuple[str, ...]) -> None:
    place(script(SETUP), *words)


def test_the_api_user_may_do_nothing_but_read_and_write() -> None:
    lines = script(SETUP)
    policy = lines[place(lines, "/user group set")].partition("policy=")[2].split(",")
    assert {each for each in policy if not each.startswith("!")} == {"api", "read", "write", "test"}
    assert {"!policy", "!sensitive", "!reboot", "!ssh"} <= set(policy)


def test_without_tls_the_script_warns() -> None:
    text = "\n".join(script(replace(SETUP, api=replace(API, tls=False, port=8728))))
    assert "WARNING: without TLS" in text
    assert "certificate" not in text


def test_the_walled_garden_lets_names_and_the_portal_through_before_it_refuses() -> None:
    lines = script(SETUP)
    names = place(lines, "/ip firewall filter", '"garden"', "protocol=udp dst-port=53", "action=accept")
    portal = place(lines, "/ip firewall filter", '"garden"', 'dst-address-list="caudal-portal"', "action=accept")
    refused = place(lines, "/ip firewall filter", '"garden"', "reject-with=icmp-admin-prohibited")
    assert max(names, portal) < refused
    place(lines, "/ip firewall filter", "src-address-list=caudal-blocked", "reject-with=icmp-admin-prohibited")
    place(lines, "/ipv6 firewall filter", "src-address-list=caudal-blocked", "reject-with=icmp-admin-prohibited")


def test_a_setup_without_api_and_garden_leaves_both_out() -> None:
    text = "\n".join(script(replace(SETUP, api=None, walled_list=None)))
    assert "/user" not in text
    assert "garden" not in text
    assert "caudal-blocked" in text


def test_everything_that_is_added_is_removed_first() -> None:
    lines = script(SETUP)
    for menu in ("/radius", "/ip firewall filter", "/ip firewall nat", "/ip firewall address-list", "/user"):
        removed = min(at for at, line in enumerate(lines) if f"{menu} remove" in line)
        added = min(at for at, line in enumerate(lines) if f"{menu} add" in line)
        assert removed < added


@pytest.mark.parametrize("menu", ["/ip firewall filter", "/ipv6 firewall filter"])
def test_refused_traffic_is_looked_at_before_anything_is_accepted(menu: str) -> None:
    lines = script(SETUP)
    refused = place(lines, f"{menu} add", "src-address-list=caudal-blocked", "action=reject")
    jump = place(lines, f"{menu} add", "chain=forward action=jump", "place-before=0")
    assert refused < jump
    assert lines[jump].count("action=jump") == 2, "also where there is no rule yet"


EXPECTED = Expected("192.0.2.1", coa_port=1700)
SOUND = RouterFacts(
    probe=Probe.ANSWERED,
    clock_offset_seconds=0.4,
    api="",
    radius=({"address": "192.0.2.1", "authentication-port": "1812", "accounting-port": "1813"},),
    incoming={"accept": "true", "port": "1700"},
    ppp_aaa={"use-radius": "true", "accounting": "true", "interim-update": "5m"},
    hotspot_profiles=(
        {"name": "hs", "use-radius": "yes", "radius-accounting": "yes", "radius-interim-update": "received"},
    ),
    dhcp_config={"accounting": "yes"},
    fast_track_rules=0,
)


def test_a_sound_router_has_one_good_finding_a_check() -> None:
    found = checks(EXPECTED, SOUND)
    assert [each.level for each in found] == [Level.OK] * len(Check)
    assert {each.check for each in found} == set(Check)
    assert all(each.correct is None for each in found)


def test_what_was_not_read_is_said_not_to_be_known() -> None:
    found = checks(EXPECTED, RouterFacts())
    assert [each.level for each in found] == [Level.UNKNOWN] * len(Check)


@pytest.mark.parametrize(
    ("facts", "check", "level", "words"),
    [
        ({"probe": Probe.SILENT}, Check.SECRET, Level.ERROR, "no answer"),
        ({"probe": Probe.SILENT}, Check.SECRET, Level.ERROR, "no word that port 1700 is shut"),
        ({"probe": Probe.REFUSED}, Check.SECRET, Level.ERROR, "port 1700 is shut"),
        ({"clock_offset_seconds": 301.0}, Check.CLOCK, Level.ERROR, "301 s ahead; a router that keeps to RFC 5176"),
        ({"clock_offset_seconds": -300.0}, Check.CLOCK, Level.WARNING, "300 s behind"),
        ({"probe": Probe.WRONG_AUTHENTICATOR}, Check.SECRET, Level.ERROR, "secrets differ"),
        ({"clock_offset_seconds": -90.0}, Check.CLOCK, Level.WARNING, "90 s behind"),
        ({"clock_offset_seconds": 6.0}, Check.CLOCK, Level.WARNING, "6 s ahead"),
        ({"api": "it refuses the login"}, Check.API, Level.ERROR, "refuses the login"),
        ({"radius": ()}, Check.RADIUS, Level.ERROR, "none of the router's servers"),
        ({"radius": ({"address": "192.0.2.1", "disabled": "true"},)}, Check.RADIUS, Level.ERROR, "none of"),
        ({"radius": ({"address": "192.0.2.1", "accounting-port": "1646"},)}, Check.RADIUS, Level.ERROR, "1646"),
        ({"incoming": {"accept": "false", "port": "1700"}}, Check.INCOMING, Level.ERROR, "no CoA"),
        ({"incoming": {"accept": "true", "port": "3799"}}, Check.INCOMING, Level.ERROR, "3799"),
        ({"ppp_aaa": {"use-radius": "false"}}, Check.PPP, Level.WARNING, "does not ask"),
        ({"ppp_aaa": {"use-radius": "true", "accounting": "false"}}, Check.PPP, Level.ERROR, "no usage"),
        (
            {"ppp_aaa": {"use-radius": "true", "accounting": "true", "interim-update": "0s"}},
            Check.PPP,
            Level.WARNING,
            "no interim",
        ),
        ({"hotspot_profiles": ({"name": "hs", "use-radius": "yes"},)}, Check.HOTSPOT, Level.ERROR, "no usage"),
        (
            {"hotspot_profiles": ({"name": "hs", "use-radius": "yes", "radius-accounting": "yes"},)},
            Check.HOTSPOT,
            Level.WARNING,
            "does not heed",
        ),
        ({"dhcp_config": {"accounting": "no"}}, Check.DHCP, Level.WARNING, "no usage"),
        ({"fast_track_rules": 2}, Check.FAST_TRACK, Level.WARNING, "passes no queue"),
    ],
)
def test_each_fault_is_found_with_what_corrects_it(
    facts: dict[str, object], check: Check, level: Level, words: str
) -> None:
    found = checks(EXPECTED, replace(SOUND, **facts))  # type: ignore[arg-type]  # the fields of the facts, by name
    (bad,) = [each for each in found if each.level is not Level.OK]
    assert (bad.check, bad.level) == (check, level)
    assert words in bad.text
    assert bad.correct


@pytest.mark.parametrize("incoming", [{"accept": "false", "port": "1700"}, {"accept": "true", "port": "3799"}])
def test_a_router_that_hears_no_request_is_not_said_to_have_another_secret(incoming: dict[str, str]) -> None:
    found = checks(EXPECTED, replace(SOUND, probe=Probe.SILENT, incoming=incoming))
    levels = {each.check: each.level for each in found if each.level is not Level.OK}
    assert levels == {Check.SECRET: Level.UNKNOWN, Check.INCOMING: Level.ERROR}


def test_where_nobody_can_look_a_silent_router_may_be_closed_to_requests() -> None:
    found = checks(EXPECTED, RouterFacts(probe=Probe.SILENT))
    (secret,) = [each for each in found if each.check is Check.SECRET]
    assert secret.level is Level.ERROR
    assert "`/radius incoming` is off" in secret.text


@pytest.mark.parametrize(
    ("row", "instant"),
    [
        ({"date": "2026-11-23", "time": "10:12:54", "gmt-offset": "+02:00"}, "2026-11-23T08:12:54+00:00"),
        ({"date": "nov/23/2026", "time": "10:12:54", "gmt-offset": "-03:30"}, "2026-11-23T13:42:54+00:00"),
        ({"date": "nov/23/2026", "time": "10:12:54", "gmt-offset": "4294963696"}, "2026-11-23T11:12:54+00:00"),
        ({"date": "nov/31/2026", "time": "10:12:54", "gmt-offset": "0"}, None),
        ({"date": "23.11.2026", "time": "10:12:54", "gmt-offset": "0"}, None),
        ({}, None),
    ],
)
def test_the_routers_clock_is_read_in_every_version(row: dict[str, str], instant: str | None) -> None:
    found = router_time(row)
    assert (None if found is None else found.astimezone(UTC).isoformat()) == instant


def secret_of(facts: RouterFacts, **expected: Any) -> tuple[str, str]:
    """Return what is said of the secret, and how to correct it."""
    (found,) = [each for each in checks(replace(EXPECTED, **expected), facts) if each.check is Check.SECRET]
    assert found.level is Level.ERROR
    return found.text, found.correct or ""


def test_silence_names_both_that_it_can_mean_and_how_to_tell_them_apart() -> None:
    text, correct = secret_of(RouterFacts(probe=Probe.SILENT))
    assert "the secret differs" in text
    assert "a firewall is between" in text
    assert "bad-requests that grow: /radius set" in correct
    assert "nothing at all: look at the firewall" in correct
    assert "which the router takes" not in text
    taken, _ = secret_of(RouterFacts(probe=Probe.SILENT, incoming={"accept": "true", "port": "1700"}))
    assert "a Disconnect-Request, which the router takes" in taken
    assert "`/radius incoming` is off" not in taken


def test_a_shut_port_is_told_from_a_wrong_secret_by_the_word_of_its_network() -> None:
    text, correct = secret_of(RouterFacts(probe=Probe.REFUSED))
    assert "of the secret nothing is known" in text
    assert correct.startswith("/radius incoming set accept=yes port=1700")


@pytest.mark.parametrize("probe", [Probe.SILENT, Probe.REFUSED, Probe.WRONG_AUTHENTICATOR])
def test_a_router_of_another_kind_is_given_no_commands_of_routeros(probe: Probe) -> None:
    text, correct = secret_of(RouterFacts(probe=probe), is_routeros=False)
    assert "/radius" not in text + correct
