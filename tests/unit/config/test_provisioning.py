"""The ISP file: what it may say, and every way in which it is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.checks import end_of_day, instant, rate, write_rate
from config.isp import Isp, IspEntry, Known, RouterProfile
from config.pool_range import parse_range, write_range
from config.problems import Mistake
from config.provisioning import ProvisioningError, parse, read
from domain.network import MessageAuthenticatorPolicy, PoolKind
from enforcement.profiles import PROFILES
from radius import dictionary

PROJECT = Path(__file__).parents[3]
SECRET = "quite-long-and-random"
WHOLE = f"""
[isp]
name = "Valdelagua"
currency = "USD"
timezone = "America/Bogota"

[[router]]
name = "north"
address = "192.0.2.0/24"
identifier = "north-1"
secret = "{SECRET}"
profile = "mikrotik"
coa_port = 1700
require_message_authenticator = "always"
flip_counters = true
api = {{ user = "caudal", password = "hush", port = 8729, tls = true }}

[[pool]]
name = "homes"
range = "100.64.0.0/24"
lease_seconds = 600
routers = ["north"]

[[pool]]
name = "links"
range = "2001:db8::/48"
kind = "ipv6-prefix"

[[pool]]
name = "prefixes"
range = "2001:db8:1:: - 2001:db8:1:ff00::"
kind = "delegated-prefix"
prefix_length = 56

[[plan]]
name = "20"
kind = "internet"
download = "20M"
upload = 10_000_000
pool = "homes"
ipv6_pool = "links"
delegated_pool = "prefixes"
session_timeout = 86400
idle_timeout = 300
interim_seconds = 600
simultaneous = 2

[[customer]]
login = "ana"
name = "Ana"
email = "ana@example.net"
phone = "+34 600 000 001"

[[service]]
login = " ana "
password = "hush"
plan = "20"
customer = "ana"
address = "203.0.113.7"
mac = ["aa-bb-cc-dd-ee-ff", "0011.2233.4455"]
routers = ["north"]
simultaneous = 1
enabled = false
expires = 2027-01-31
attributes = {{ "Framed-MTU" = 1492, "Reply-Message" = ["one", "two"] }}
""".replace('" ana "', '"ana"')


def parsed(text: str, known: Known | None = None) -> Isp:
    return parse(read(text, "isp.toml"), known or Known(), dictionary.load().encode)


def problems_of(text: str, known: Known | None = None) -> list[str]:
    with pytest.raises(ProvisioningError) as caught:
        parsed(text, known)
    return [str(problem) for problem in caught.value.problems]


def known_from(text: str) -> Known:
    """Return what the database would know after the file was applied."""
    isp = parsed(text)
    return Known(
        timezone=isp.isp.timezone if isp.isp else "Europe/Madrid",
        routers={router.name: (router.address, router.identifier) for router in isp.routers},
        routers_with_api={router.name for router in isp.routers if router.api},
        pools={pool.name: pool for pool in isp.pools},
        plans={plan.name for plan in isp.plans},
        customers=lambda logins: {customer.login for customer in isp.customers} & {*logins},
        services=lambda logins: {service.login for service in isp.services} & {*logins},
        address_holders=lambda _: {service.address: service.login for service in isp.services if service.address},
    )


def test_a_whole_file_is_read() -> None:
    isp = parsed(WHOLE)
    assert isp.warnings == ()
    assert isp.isp == IspEntry("Valdelagua", "USD", "America/Bogota")
    (router,) = isp.routers
    assert (router.address, router.identifier, router.coa_port, router.flip_counters) == (
        "192.0.2.0/24",
        "north-1",
        1700,
        True,
    )
    assert router.profile is RouterProfile.MIKROTIK
    assert router.require_message_authenticator is MessageAuthenticatorPolicy.ALWAYS
    assert router.secret is not None
    assert router.secret.reveal() == SECRET.encode()
    assert router.api is not None
    assert (router.api.user, router.api.port, router.api.tls) == ("caudal", 8729, True)
    assert [(str(pool.first), str(pool.last), pool.prefix_length) for pool in isp.pools] == [
        ("100.64.0.0", "100.64.0.255", 32),
        ("2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff", 64),
        ("2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff", 56),
    ]
    (plan,) = isp.plans
    assert (plan.download_bits_per_second, plan.upload_bits_per_second) == (20_000_000, 10_000_000)
    assert (plan.pool, plan.ipv6_pool, plan.delegated_pool) == ("homes", "links", "prefixes")
    (service,) = isp.services
    assert service.macs == ("AA:BB:CC:DD:EE:FF", "00:11:22:33:44:55")
    assert service.expires_at == datetime(2027, 2, 1, 5, tzinfo=UTC)
    assert service.attributes == (("Framed-MTU", "1492"), ("Reply-Message", "one"), ("Reply-Message", "two"))
    assert service.reply_octets == bytes.fromhex("0c06000005d4") + b"\x12\x05one" + b"\x12\x05two"


def test_what_is_left_out_has_its_default() -> None:
    isp = parsed(
        f"""
        [isp]
        name = "x"
        [[router]]
        name = "r"
        address = "2001:db8::1"
        secret = "{SECRET}"
        [[plan]]
        name = "p"
        [[service]]
        login = "aabbccddeeff"
        plan = "p"
        """
    )
    assert isp.isp == IspEntry("x", "EUR", "Europe/Madrid")
    (router,), (plan,), (service,) = isp.routers, isp.plans, isp.services
    assert (router.address, router.identifier, router.coa_port, router.api) == ("2001:db8::1/128", None, None, None)
    assert router.profile is RouterProfile.GENERIC
    assert router.require_message_authenticator is MessageAuthenticatorPolicy.AUTO
    assert (plan.download_bits_per_second, plan.pool, plan.interim_seconds, plan.simultaneous) == (
        None,
        None,
        600,
        None,
    )
    assert (service.login, service.password, service.enabled) == ("AA:BB:CC:DD:EE:FF", None, True)


MISTAKEN = """\
[isp]
name = ""
currency = "euro"
timezone = "Europe/Madird"
[[router]]
name = "north"
address = "192.0.2.1/24"
secrett = "hush"
secret = ""
profile = "mikrotick"
api = { user = "x" }
[[router]]
address = "nowhere"
[[pool]]
name = "homes"
range = "100.64.0.9-100.64.0.1"
routers = ["norht"]
[[pool]]
name = "links"
kind = "ipv6-prefix"
range = "2001:db8::/65"
[[plan]]
name = "20"
download = "20 MB"
upload = "0.5"
pool = "links"
interim_seconds = 59
[[customer]]
login = "ana"
email = "ana"
[[service]]
login = "ana"
password = 5
plan = "21"
customer = "luis"
address = "2001:db8::1"
mac = "12345"
expires = "tomorrow"
attributes = { "Framed-MTU" = "big", "Framed-Mtuu" = 1, "Class" = "x" }
[[service]]
login = "ana"
plan = "20"
[service2]
"""
TOLD_OF_IT = [
    "line 2: isp.name: must not be empty",
    'line 3: isp.currency: must be the three capital letters of a currency, such as "EUR", not "euro"',
    'line 4: isp.timezone: must be a time zone such as "Europe/Madrid", not "Europe/Madird"',
    (
        'line 7: router.address: names an address inside a block: write "192.0.2.0/24" for the block'
        ' or "192.0.2.1" for the address'
    ),
    'line 8: router.secrett: is not a known key; did you mean "secret"?',
    "line 9: router.secret: must not be empty",
    (
        'line 10: router.profile: must be one of "mikrotik", "generic", "cisco", "juniper", "huawei", "wispr",'
        ' "accel-ppp", not "mikrotick"; did you mean "mikrotik"?'
    ),
    "line 11: router.api.password: is missing for new access to an API",
    "line 12: router.name: is missing",
    "line 12: router.secret: is missing for a new router",
    'line 13: router.address: must be an address such as "192.0.2.1" or "192.0.2.0/24", not "nowhere"',
    (
        "line 16: pool.range: must lead from a lower to a higher address of one kind, which"
        ' "100.64.0.9-100.64.0.1" does not'
    ),
    'line 17: pool.routers: there is no router "norht"; did you mean "north"?',
    "line 21: pool.range: must end where a prefix of length 64 ends, which 2001:db8::7fff:ffff:ffff:ffff does not",
    'line 24: plan.download: must be a rate in bit/s such as "20M" (k, M or G), not "20 MB"',
    'line 25: plan.upload: must be whole bits per second from 1 to 1000G, not "0.5"; leave it out for no limit',
    'line 26: plan.pool: must name a pool of kind "ipv4"; "links" is of kind "ipv6-prefix"',
    "line 27: plan.interim_seconds: must be a whole number of seconds from 60 to 2147483647, not 59",
    "line 28: customer.name: is missing",
    'line 30: customer.email: must be an address such as "ana@example.net", not "ana"',
    "line 33: service.password: must be text in quotes",
    'line 34: service.plan: there is no plan "21"',
    'line 35: service.customer: there is no customer "luis"',
    'line 36: service.address: must be IPv4, not "2001:db8::1"; IPv6 goes into attributes, as Framed-IPv6-Prefix',
    'line 37: service.mac: must be a MAC address such as "AA:BB:CC:DD:EE:FF", not "12345"',
    'line 38: service.expires: must be a date such as 2027-01-31 or 2027-01-31T12:00:00, not "tomorrow"',
    'line 40: service.password: is missing for a new service; a line without one has password = ""',
    'line 41: service.login: "ana" is there twice (the first is on line 31)',
    'line 43: service2: is not a known table; did you mean "service"?',
]


def line_of(problem: str) -> int:
    return int(problem.removeprefix("line ").partition(":")[0])


def test_every_mistake_of_a_file_is_listed_with_its_line() -> None:
    found = problems_of(MISTAKEN)
    of_attributes = [problem for problem in found if problem.startswith("line 39:")]

    assert [problem for problem in found if problem not in of_attributes] == TOLD_OF_IT
    assert len(of_attributes) == 3
    assert found == sorted(found, key=line_of)
    assert "hush" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[isp]]\n", "line 1: isp: must be a table, not a list"),
        ("[service]\n", "line 1: service: must be written as [[service]], with double brackets"),
        ("router = 1\n", "line 1: router: must be an array of tables, not 1"),
        ("router = [1]\n", "line 1: router: must be a table, not 1"),
        ("a = \n", "line 1: is not TOML: Invalid value (at line 1, column 5)"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_two_objects_of_one_name_are_refused_at_the_second() -> None:
    plan = '[[plan]]\nname = "20"\n'
    assert problems_of(plan + plan) == ['line 3: plan: the plan "20" is there twice (the first is on line 1)']


def test_routers_behind_one_address_need_identifiers() -> None:
    router = f'[[router]]\nname = "{{}}"\naddress = "192.0.2.1"\nsecret = "{SECRET}"\n'
    both = router.format("a") + router.format("b")
    complaint = 'is that of the router "a"; routers behind one address need an identifier each'
    assert problems_of(both) == [f"line 7: router.address: {complaint}"]
    assert len(parsed(both + 'identifier = "b"\n').routers) == 2
    assert problems_of(router.format("b"), known_from(router.format("a"))) == [f"line 3: router.address: {complaint}"]


def test_a_file_may_refer_to_what_exists_and_leave_out_its_secrets() -> None:
    isp = parsed(
        """
        [[router]]
        name = "north"
        address = "192.0.2.9"
        api = { user = "other" }
        [[plan]]
        name = "40"
        pool = "homes"
        [[service]]
        login = "ana"
        plan = "20"
        customer = "ana"
        routers = ["north"]
        """,
        known_from(WHOLE),
    )
    assert isp.routers[0].secret is None
    assert isp.services[0].password is None


def test_a_pool_cannot_change_its_kind() -> None:
    text = '[[pool]]\nname = "homes"\nrange = "2001:db8:5::/48"\nkind = "ipv6-prefix"\n'
    assert problems_of(text, known_from(WHOLE)) == [
        'line 4: pool.kind: cannot change from "ipv4"; make a pool with another name'
    ]


def test_a_static_address_belongs_to_one_service() -> None:
    plan = '[[plan]]\nname = "20"\n'
    service = '[[service]]\nlogin = "{}"\npassword = ""\nplan = "20"\naddress = "203.0.113.7"\n'
    assert problems_of(plan + service.format("ana") + service.format("luis")) == [
        'line 12: service.address: 203.0.113.7 belongs to the service "ana" too (the first is on line 3)'
    ]
    assert problems_of(service.format("luis"), known_from(WHOLE)) == [
        'line 5: service.address: 203.0.113.7 belongs to the service "ana" already'
    ]


def test_a_static_address_may_move_within_a_file() -> None:
    service = '[[service]]\nlogin = "{}"\npassword = ""\nplan = "20"\naddress = "{}"\n'
    text = service.format("luis", "203.0.113.7") + service.format("ana", "203.0.113.8")
    assert len(parsed(text, known_from(WHOLE)).services) == 2


def test_any_number_of_services_may_let_the_router_choose() -> None:
    service = '[[service]]\nlogin = "{}"\npassword = ""\nplan = "20"\naddress = "255.255.255.254"\n'
    assert len(parsed(service.format("a") + service.format("b"), known_from(WHOLE)).services) == 2


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "100.64.0.0/16", "7"])
def test_addresses_no_line_can_have_are_refused(address: str) -> None:
    text = f'[[service]]\nlogin = "luis"\npassword = ""\nplan = "20"\naddress = "{address}"\n'
    (problem,) = problems_of(text, known_from(WHOLE))
    assert problem.startswith("line 5: service.address: must be")


def test_unwise_values_warn_with_their_line() -> None:
    isp = parsed(
        """\
[[router]]
name = "r"
address = "0.0.0.0/0"
secret = "only12octets"
[[pool]]
name = "a"
range = "100.64.0.0/24"
[[pool]]
name = "b"
range = "100.64.0.255-100.64.1.9"
[[plan]]
name = "20"
interim_seconds = 300
[[service]]
login = "ana"
password = ""
plan = "20"
address = "100.64.0.7"
[[service]]
login = "luis"
password = ""
plan = "20"
address = "100.64.0.8"
"""
    )
    assert [str(warning) for warning in isp.warnings] == [
        "line 3: router.address: accepts packets from everywhere; name the router's own address or network",
        "line 4: router.secret: has at most 12 octets and can be guessed; use 16 or more",
        'line 10: pool.range: overlaps with the pool "a"',
        "line 13: plan.interim_seconds: below 600 makes many packets (RFC 2869)",
        (
            'line 18: service.address: may be leased to somebody else by the pool "a",'
            " inside which it lies (as do 1 more of this file)"
        ),
    ]


def test_a_rate_that_some_profiles_cannot_be_told_is_a_warning() -> None:
    (warning,) = parsed('[[plan]]\nname = "10G"\ndownload = "10G"\nupload = "4G"\n').warnings
    assert str(warning).startswith(
        "line 3: plan.download: is told as 4294967295 to routers of profile huawei and wispr"
    )


def test_a_new_zone_leaves_what_was_counted_as_it_was() -> None:
    text = '[isp]\nname = "Valdelagua"\ntimezone = "Asia/Kolkata"\n'
    assert parsed(text, Known(timezone="Europe/Madrid")).warnings == ()
    (warning,) = parsed(text, Known(timezone="Europe/Madrid", has_usage=True)).warnings
    assert "line 3: isp.timezone: hours and days counted so far stay those of Europe/Madrid" in str(warning)


def test_a_telephone_number_of_twelve_digits_needs_its_password_written() -> None:
    text = '[[service]]\nlogin = "346123456789"\nplan = "20"\n'
    assert problems_of(text, known_from(WHOLE)) == [
        'line 1: service.password: is missing for a new service; a line without one has password = ""'
    ]
    for login in ("34:61:23:45:67:89", "3461234567AB"):
        assert parsed(text.replace("346123456789", login), known_from(WHOLE)).services[0].password is None


def test_thirteen_and_sixty_four_octets_of_secret_are_fine() -> None:
    for length in (13, 64):
        text = f'[[router]]\nname = "r"\naddress = "192.0.2.1"\nsecret = "{"s" * length}"\n'
        assert parsed(text).warnings == ()


def test_attributes_that_do_not_fit_an_answer_are_refused() -> None:
    long = ", ".join([f'"{"x" * 250}"'] * 13)
    text = f'[[service]]\nlogin = "luis"\npassword = ""\nplan = "20"\nattributes = {{ "Reply-Message" = [{long}] }}\n'
    assert problems_of(text, known_from(WHOLE)) == [
        "line 5: service.attributes: take 3276 octets together; an answer has room for 3000"
    ]


def test_a_long_password_and_a_long_login_are_refused_without_showing_the_password() -> None:
    text = f'[[service]]\nlogin = "{"ñ" * 127}"\npassword = "{"p" * 129}"\nplan = "20"\n'
    assert problems_of(text, known_from(WHOLE)) == [
        "line 2: service.login: must have at most 253 octets, the limit of a User-Name",
        "line 3: service.password: must have at most 128 octets, not 129",
    ]


def test_secrets_are_not_shown_by_what_was_read() -> None:
    assert SECRET not in repr(parsed(WHOLE))
    assert "hush" not in repr(parsed(WHOLE))


def test_the_demonstration_is_a_right_file_without_static_addresses_in_pools() -> None:
    isp = parsed((PROJECT / "examples/isp.toml").read_text())
    assert (len(isp.routers), len(isp.plans), len(isp.customers), len(isp.services)) == (4, 5, 500, 500)
    assert all(router.address.startswith("127.0.0.") for router in isp.routers)
    assert {warning.message for warning in isp.warnings} == {
        "plan.interim_seconds: below 600 makes many packets (RFC 2869)"
    }


@pytest.mark.parametrize(
    ("text", "bits_per_second"),
    [
        ("1", 1),
        ("64k", 64_000),
        ("64K", 64_000),
        ("1.5M", 1_500_000),
        ("0.000001M", 1),
        ("2.5 G", 2_500_000_000),
        (7, 7),
    ],
)
def test_rates_are_exact(text: object, bits_per_second: int) -> None:
    assert rate(text) == bits_per_second


@pytest.mark.parametrize(
    "text", ["", "M", "20m", "-1", "0", "1.0000001M", "1e3", "1001G", "20Mbit", "٣M", 0, -5, 1.5, True]
)
def test_rates_that_are_none_are_refused(text: object) -> None:
    with pytest.raises(Mistake):
        rate(text)


@given(st.integers(1, 10**12))
def test_a_written_rate_is_read_back(bits_per_second: int) -> None:
    assert rate(write_rate(bits_per_second)) == bits_per_second


@given(st.sampled_from(PoolKind), st.integers(0, 2**32 - 1), st.integers(0, 1000), st.data())
def test_a_written_range_is_read_back(kind: PoolKind, start: int, count: int, data: st.DataObject) -> None:
    bits = 32 if kind is PoolKind.IPV4 else 128
    length = 32 if kind is PoolKind.IPV4 else data.draw(st.integers(48, 128))
    stride = 1 << (bits - length)
    first = min(start * stride, 2**bits - stride)
    last = min(first + (count + 1) * stride, 2**bits) - 1
    separator = data.draw(st.sampled_from(["-", " - "]))
    text = f"{_address(first, bits)}{separator}{_address(last, bits)}"
    read_first, read_last = parse_range(text, kind, length)
    assert (int(read_first), int(read_last)) == (first, last)
    assert parse_range(write_range(read_first, read_last), kind, length) == (read_first, read_last)


def _address(number: int, bits: int) -> str:
    return str(IPv4Address(number) if bits == 32 else IPv6Address(number))


@pytest.mark.parametrize(
    "text", ["100.64.0.1/24", "100.64.0.0/33", "2001:db8::/64", "a-b", "1-2-3", "100.64.0.1-2001:db8::1", "", 5, "1-2"]
)
def test_ranges_that_are_none_are_refused(text: object) -> None:
    with pytest.raises(Mistake):
        parse_range(text, PoolKind.IPV4, 32)


def test_every_router_profile_of_the_file_is_one_the_product_knows() -> None:
    assert {profile.value for profile in RouterProfile} == set(PROFILES)


def test_a_date_lasts_until_its_local_day_ends() -> None:
    madrid = instant(ZoneInfo("Europe/Madrid"))
    assert madrid(date(2027, 3, 28)) == datetime(2027, 3, 28, 22, tzinfo=UTC)
    assert madrid("2027-03-27") == datetime(2027, 3, 27, 23, tzinfo=UTC)
    assert madrid(datetime(2027, 1, 1, 12)) == datetime(2027, 1, 1, 11, tzinfo=UTC)  # noqa: DTZ001
    assert madrid("2027-01-01T12:00:00-05:00") == datetime(2027, 1, 1, 17, tzinfo=UTC)
    # On 5 September 2027 clocks in Chile go from 24:00 to 1:00: the day before ends at that instant.
    assert end_of_day(date(2027, 9, 4), ZoneInfo("America/Santiago")) == datetime(2027, 9, 5, 4, tzinfo=UTC)


@pytest.mark.parametrize("value", ["", "soon", 5, True, date(1969, 12, 31), date(9999, 12, 31), "2027-02-30"])
def test_dates_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(Mistake):
        instant(UTC)(value)


def test_an_encoder_is_asked_once_for_equal_attributes() -> None:
    asked: list[tuple[str, str]] = []

    def encode(name: str, value: str) -> bytes:
        asked.append((name, value))
        return b"x"

    text = '[[service]]\nlogin = "{}"\npassword = ""\nplan = "20"\nattributes = {{ "Framed-MTU" = 1492 }}\n'
    parse(read(text.format("a") + text.format("b"), "isp.toml"), known_from(WHOLE), encode)
    assert asked == [("Framed-MTU", "1492")]
