"""A connection whose far end is gone is heard of, though nobody speaks."""

from __future__ import annotations

import select
import socket
import struct

import pytest

from domain.secret import Secret
from enforcement.drivers.connection_watch import ConnectionWatch
from enforcement.drivers.routeros_channel import KEEPALIVE_SECONDS, Endpoint, Patience, _connect


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


def told(watch: ConnectionWatch) -> bool:
    """Wait until the watch has something to tell, not for long."""
    return bool(select.select([watch], [], [], 0.2)[0])


@pytest.mark.parametrize("resets", [False, True])
def test_the_end_of_an_idle_connection_is_told_once(resets: bool) -> None:
    watch, ended = ConnectionWatch(), list[int]()
    near, far = pair()
    watch.follow(near.fileno(), lambda: ended.append(1))
    far.send(b"what it says is for who reads it")
    assert not told(watch)
    if resets:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    assert told(watch)
    watch.read()
    assert ended == [1]
    assert not told(watch)
    near.close()
    watch.close()


def test_a_connection_that_we_end_and_one_after_the_end_are_followed_no_more() -> None:
    watch, ended = ConnectionWatch(), list[int]()
    near, far = pair()
    watch.follow(near.fileno(), lambda: ended.append(1))
    near.close()
    far.close()
    assert not told(watch)
    near, far = pair()
    watch.follow(near.fileno(), lambda: ended.append(2))
    watch.close()
    watch.follow(near.fileno(), lambda: ended.append(3))
    far.close()
    near.close()
    assert ended == []


def test_a_router_that_lost_power_is_missed_within_half_a_minute() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint("north", "127.0.0.1", "caudal", Secret(b"hush"), listener.getsockname()[1], tls=False)
        with _connect(endpoint, Patience()) as near:
            assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, pause, count = (
                near.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
    assert idle == KEEPALIVE_SECONDS == 10
    assert idle + pause * count <= 30
