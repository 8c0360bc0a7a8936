"""What a check reads of a router, and what becomes of its probe."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.router_readings import Probed, our_address, probe
from enforcement.router_checks import Probe
from tests.unit.enforcement.coa_bench import Bench, Nowhere, play, target

SHUT = Nowhere().address
SHORTLY = 0.2


def test_our_address_is_that_of_the_way_to_the_router() -> None:
    assert our_address("127.0.0.1") == "127.0.0.1"


@contextmanager
def hole() -> Iterator[tuple[str, int]]:
    """Lend a port that swallows everything, as a firewall does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


def test_a_shut_port_is_told_apart_from_silence() -> None:
    assert asyncio.run(probe(target(SHUT), SHORTLY)) == Probed(Probe.REFUSED)
    with hole() as address:
        assert asyncio.run(probe(target(address), SHORTLY)) == Probed(Probe.SILENT)


def test_a_router_that_knows_our_secret_answers_and_one_that_does_not_is_silent() -> None:
    async def scene(bench: Bench) -> None:
        knows, differs = await bench.nas(), await bench.nas(secret=b"other")
        assert await probe(target(knows.address)) == Probed(Probe.ANSWERED)
        assert await probe(target(differs.address), SHORTLY) == Probed(Probe.SILENT)

    play(scene)
