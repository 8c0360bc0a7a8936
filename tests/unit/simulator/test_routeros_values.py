"""How RouterOS prints what a client wrote."""

from __future__ import annotations

import pytest

from simulator.routeros_values import Kind, address, duration, flag, mac, pair, rate, seconds, some_of, targets


@pytest.mark.parametrize(
    ("kind", "written", "printed"),
    [
        (pair(rate), "10M/20M", "10000000/20000000"),
        (pair(rate), "512k/0", "512000/0"),
        (rate, "1G", "1000000000"),
        (flag, "yes", "true"),
        (flag, "false", "false"),
        (duration, "90", "1m30s"),
        (duration, "00:10:00", "10m"),
        (duration, "1d00:00:00", "1d"),
        (duration, "0", "0s"),
        (pair(duration), "8s/16", "8s/16s"),
        (address, "100.64.0.1/32", "100.64.0.1"),
        (address, "100.64.0.9/24", "100.64.0.0/24"),
        (targets, "100.64.0.1,ether2,2001:db8::1", "100.64.0.1/32,ether2,2001:db8::1/128"),
        (mac, "02:00:5e:00:00:0a", "02:00:5E:00:00:0A"),
        (some_of("ppp", "dhcp"), "ppp,dhcp", "ppp,dhcp"),
    ],
)
def test_a_value_is_printed_in_the_boxs_own_words(kind: Kind, written: str, printed: str) -> None:
    assert kind(written) == printed
    assert kind(printed) == printed


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (pair(rate), "10M"),
        (rate, "10Mbit"),
        (rate, "-1"),
        (flag, "maybe"),
        (duration, ""),
        (duration, "soon"),
        (mac, "02:00"),
        (some_of("ppp"), "ppp,login"),
        (targets, ""),
    ],
)
def test_what_is_no_such_value_is_refused(kind: Kind, written: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        kind(written)


def test_an_uptime_is_read_back() -> None:
    assert seconds("3w4d12h23m12s") == ((3 * 7 + 4) * 24 + 12) * 3600 + 23 * 60 + 12
