"""What a check reads of a router."""

from __future__ import annotations

from daemon.router_readings import our_address


def test_our_address_is_that_of_the_way_to_the_router() -> None:
    assert our_address("127.0.0.1") == "127.0.0.1"
