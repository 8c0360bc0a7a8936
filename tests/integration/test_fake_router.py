"""The simulated box over real sockets: with the `routeros_api` package as its client, and with hand-made octets."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Self

import pytest
from routeros_api import RouterOsApiPool
from routeros_api.exceptions import (
    RouterOsApiCommunicationError,
    RouterOsApiConnectionError,
    RouterOsApiParsingError,
)

from simulator.rate_limit import Pair, RateLimit
from simulator.routeros_faults import ApiFaults, Mishap
from simulator.routeros_sessions import ActiveSession
from simulator.routeros_words import LONGEST_WORD, Reader, encode_sentence
from tests.unit.simulator.routeros_box import ADDRESS, CERTIFICATE, PASSWORD, USER, RunningBox, running_box

PIPELINED = 5_000
MOST_SECONDS = 5.0
"""What adding so many queues may take the box, on a machine that does other things too."""


@pytest.fixture
def box() -> Iterator[RunningBox]:
    with running_box() as running:
        yield running


class Client:
    """A client that writes words and reads sentences, and hides nothing."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        plain = socket.create_connection((ADDRESS, port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = plain if context is None else context.wrap_socket(plain, server_hostname=ADDRESS)
        self._reader = Reader(LONGEST_WORD)
        self._arrived: list[list[bytes]] = []

    def say(self, *words: str | bytes) -> None:
        self.socket.sendall(encode_sentence(word.encode() if isinstance(word, str) else word for word in words))

    def hear(self) -> list[bytes] | None:
        """Return the next sentence, None at the end of the connection."""
        while not self._arrived:
            octets = self.socket.recv(65_536)
            if not octets:
                return None
            self._reader.feed(octets)
            self._arrived += self._reader.sentences()
        return self._arrived.pop(0)

    def ask(self, *words: str | bytes) -> list[list[bytes]]:
        """Say a sentence and return what comes up to `!done`."""
        self.say(*words)
        heard: list[list[bytes]] = []
        while not heard or heard[-1][0] != b"!done":
            sentence = self.hear()
            assert sentence is not None
            heard.append(sentence)
        return heard

    def log_in(self) -> Self:
        assert self.ask("/login", f"=name={USER}", f"=password={PASSWORD}") == [[b"!done"]]
        return self

    def is_silent(self, seconds: float) -> bool:
        """Tell whether nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            return self.hear() == [b"nothing"]
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)

    def is_ended(self) -> bool:
        """Wait until the box ends the connection."""
        try:
            return self.hear() is None
        except ConnectionResetError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@contextmanager
def peer(box: RunningBox, **options: Any) -> Iterator[Any]:
    """Yield the API object of `routeros_api`, logged in."""
    pool = RouterOsApiPool(ADDRESS, username=USER, password=PASSWORD, port=box.port, plaintext_login=True, **options)
    try:
        yield pool.get_api()
    finally:
        pool.disconnect()


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=CERTIFICATE.certificate.decode())


# The peer


def test_the_package_adds_finds_changes_and_removes_a_queue(box: RunningBox) -> None:
    with peer(box) as api:
        queues = api.get_resource("/queue/simple")
        queues.add(name="ana", target="100.64.0.7", max_limit="10M/20M", comment="caudal:ñ")
        (row,) = queues.get(name="ana")
        assert (row["max-limit"], row["target"], row["comment"]) == ("10000000/20000000", "100.64.0.7/32", "caudal:ñ")
        queues.set(id=row["id"], max_limit="1M/2M")
        assert queues.get()[0]["max-limit"] == "1000000/2000000"
        queues.remove(id=row["id"])
        assert queues.get() == []


def test_the_package_hears_why_a_command_was_refused(box: RunningBox) -> None:
    with peer(box) as api:
        queues = api.get_resource("/queue/simple")
        queues.add(name="ana", target="100.64.0.7")
        with pytest.raises(RouterOsApiCommunicationError) as caught:
            queues.add(name="ana", target="100.64.0.8")
        assert caught.value.original_message == b"failure: already have such name"
        with pytest.raises(RouterOsApiCommunicationError, match="no such item"):
            queues.remove(id="*FF")
        assert len(queues.get()) == 1


def test_the_package_pipelines_by_tag(box: RunningBox) -> None:
    with peer(box) as api:
        lists = api.get_resource("/ip/firewall/address-list")
        promises = [
            lists.call_async("add", {"list": "slow", "address": f"100.64.0.{number}"}) for number in range(1, 51)
        ]
        for promise in promises:
            promise.get()
        assert len(lists.get(list="slow")) == 50


def test_the_package_sees_and_kicks_a_session(box: RunningBox) -> None:
    box.open(ActiveSession("81300077", "ana", "100.64.0.7", rate_limit=RateLimit(Pair(5_000_000, 20_000_000))))
    with peer(box) as api:
        (active,) = api.get_resource("/ppp/active").get(name="ana")
        assert (active["id"], int(active["session-id"], 16)) == ("*80000077", 0x81300077)
        (queue,) = api.get_resource("/queue/simple").get(name="<pppoe-ana>")
        assert (queue["max-limit"], queue["dynamic"]) == ("5000000/20000000", "true")
        api.get_resource("/ppp/active").remove(id=active["id"])
        assert box.sessions() == []


def test_the_package_logs_in_over_tls(box: RunningBox) -> None:
    pool = RouterOsApiPool(
        ADDRESS, username=USER, password=PASSWORD, port=box.tls_port, plaintext_login=True, ssl_context=trusting()
    )
    try:
        assert pool.get_api().get_resource("/system/identity").get() == [{"name": "norte"}]
        shown = pool.socket.socket.getpeercert(binary_form=True)
        assert sha256(shown).hexdigest() == CERTIFICATE.fingerprint
    finally:
        pool.disconnect()


def test_the_package_stumbles_over_the_faults_that_were_measured_with_it(box: RunningBox) -> None:
    with peer(box) as api:
        identity = api.get_resource("/system/identity")
        box.fail(ApiFaults(Mishap.BARE_TRAP))
        with pytest.raises(KeyError):
            identity.get()
    with peer(box) as api:
        box.fail(ApiFaults(Mishap.GARBLED_TRAP))
        with pytest.raises(UnicodeDecodeError):
            api.get_resource("/system/identity").get()
    with peer(box) as api:
        box.fail(ApiFaults(Mishap.FATAL))
        with pytest.raises(RouterOsApiParsingError):
            api.get_resource("/system/identity").get()
    box.fail(ApiFaults())
    with peer(box) as api:
        box.fail(ApiFaults(Mishap.CUT))
        with pytest.raises(RouterOsApiConnectionError):
            api.get_resource("/system/identity").get()


# Hand-made octets


def test_who_has_not_logged_in_is_told_so_and_shut_out(box: RunningBox) -> None:
    with Client(box.port) as client:
        client.say("/system/identity/print")
        assert client.hear() == [b"!fatal", b"not logged in"]
        assert client.is_ended()


def test_a_wrong_password_is_refused_and_may_be_tried_again(box: RunningBox) -> None:
    with Client(box.port) as client:
        trap, done = client.ask("/login", f"=name={USER}", "=password=wrong")
        assert (trap, done) == ([b"!trap", b"=message=invalid user name or password (6)"], [b"!done"])
        client.log_in()


def test_a_long_word_before_login_ends_the_connection(box: RunningBox) -> None:
    with Client(box.port) as client:
        client.say("/login", "=name=" + "x" * 600)
        assert client.is_ended()


def test_words_may_come_octet_by_octet(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        for octet in encode_sentence([b"/system/identity/print", b".tag=7"]):
            client.socket.sendall(bytes((octet,)))
        assert client.hear() == [b"!re", b".tag=7", b"=name=norte"]
        assert client.hear() == [b"!done", b".tag=7"]


def test_a_print_without_rows_says_so_in_newer_versions_only(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        assert client.ask("/queue/simple/print") == [[b"!empty"], [b"!done"]]
    with running_box("7.16.2 (stable)") as older, Client(older.port).log_in() as client:
        assert client.ask("/queue/simple/print") == [[b"!done"]]


def test_a_row_is_asked_for_by_its_number_and_every_command_is_counted(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        for name in ("a", "b"):
            client.ask("/queue/simple/add", f"=name={name}", "=target=100.64.0.1")
        assert client.ask("/queue/simple/print", "=.proplist=name", "?.id=*2")[0] == [b"!re", b"=name=b"]
    assert box.box.commands == 4


def test_quitting_is_said_goodbye_to(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        client.say("/quit")
        assert client.hear() == [b"!fatal", b"session terminated on request"]
        assert client.is_ended()


def test_five_thousand_pipelined_queues_are_added_in_seconds(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        octets = b"".join(
            encode_sentence(
                (
                    b"/queue/simple/add",
                    b"=name=q%d" % number,
                    b"=target=100.64.%d.%d" % divmod(number, 250),
                    b"=max-limit=10M/20M",
                    b"=comment=caudal:%d" % number,
                    b".tag=%d" % number,
                )
            )
            for number in range(PIPELINED)
        )
        began = time.monotonic()
        client.socket.sendall(octets)
        tags = []
        for _ in range(PIPELINED):
            sentence = client.hear()
            assert sentence is not None
            assert sentence[0] == b"!done"
            tags.append(sentence[1])
        assert time.monotonic() - began < MOST_SECONDS
        assert tags == [b".tag=%d" % number for number in range(PIPELINED)]
        assert len(client.ask("/queue/simple/print", "=.proplist=.id,name")) == PIPELINED + 1


def test_twenty_connections_are_served_and_the_next_is_not(box: RunningBox) -> None:
    clients = [Client(box.port).log_in() for _ in range(20)]
    with Client(box.port) as extra:
        assert extra.is_ended()
    with Client(box.tls_port, trusting()).log_in() as other_service:
        assert other_service.ask("/system/identity/print")
    clients.pop().socket.close()
    while box.connections() >= 20:
        pass
    with Client(box.port) as late:
        late.log_in()
    for client in clients:
        client.socket.close()


def test_a_monitor_repeats_until_it_is_cancelled(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        client.say("/radius/incoming/monitor", ".tag=m")
        reading = client.hear()
        assert reading is not None
        assert reading[:2] == [b"!re", b".tag=m"]
        assert client.ask("/system/identity/print", ".tag=i")[-1] == [b"!done", b".tag=i"]
        trap, done = client.ask("/cancel", "=tag=m", ".tag=c")[-2:]
        assert trap == [b"!trap", b".tag=m", b"=category=2", b"=message=interrupted"]
        assert done == [b"!done", b".tag=m"]
        assert client.hear() == [b"!done", b".tag=c"]


# Faults


def test_a_stalled_box_answers_nothing_more_on_this_connection(box: RunningBox) -> None:
    with Client(box.port).log_in() as client, Client(box.port).log_in() as other:
        box.fail(ApiFaults(Mishap.STALL, times=1))
        client.say("/system/identity/print")
        client.say("/system/identity/print")
        assert client.is_silent(0.2)
        assert other.ask("/system/identity/print")[-1] == [b"!done"]


def test_a_fault_hits_the_chosen_command_after_others_passed(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        box.fail(ApiFaults(Mishap.TRAP, at="/queue/simple/add", after=1, times=1))
        answers = [
            client.ask("/queue/simple/add", f"=name={name}", "=target=100.64.0.1")[0][0] for name in ("a", "b", "c")
        ]
        assert answers == [b"!done", b"!trap", b"!done"]
        assert [row["name"] for row in box.rows("/queue/simple")] == ["a", "c"]


@pytest.mark.parametrize(("takes_effect", "left"), [(False, 0), (True, 1)])
def test_a_reply_cut_in_the_middle_leaves_open_what_happened(box: RunningBox, takes_effect: bool, left: int) -> None:
    with Client(box.port).log_in() as client:
        box.fail(ApiFaults(Mishap.CUT, at="/queue", takes_effect=takes_effect))
        client.say("/queue/simple/add", "=name=a", "=target=100.64.0.1")
        assert client.is_ended()
    assert len(box.rows("/queue/simple")) == left


def test_a_command_that_is_refused_can_be_cut_off_too(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        box.fail(ApiFaults(Mishap.CUT, takes_effect=True))
        client.say("/no/such/menu/print")
        assert client.is_ended()


def test_a_box_can_start_again_instead_of_answering(box: RunningBox) -> None:
    box.enter("/queue/simple", {"name": "of a session", "target": "100.64.0.2"}, dynamic=True)
    with Client(box.port).log_in() as client, Client(box.port).log_in() as other:
        box.fail(ApiFaults(Mishap.REBOOT, at="/queue/simple/add", times=1, takes_effect=True))
        client.say("/queue/simple/add", "=name=a", "=target=100.64.0.1")
        assert client.is_ended()
        assert other.is_ended()
    assert [row["name"] for row in box.rows("/queue/simple")] == ["a"]


def test_a_duplicated_reply_comes_twice(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        box.fail(ApiFaults(Mishap.DUPLICATE, takes_effect=True))
        assert client.ask("/queue/simple/add", "=target=100.64.0.1", ".tag=1") == [[b"!done", b".tag=1", b"=ret=*1"]]
        assert client.hear() == [b"!done", b".tag=1", b"=ret=*1"]


def test_replies_in_small_pieces_are_the_same_replies(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        whole = client.ask("/queue/type/print", ".tag=1")
        box.fail(ApiFaults(write_octets=3))
        assert client.ask("/queue/type/print", ".tag=1") == whole


def test_comments_that_are_no_utf8_come_as_they_are(box: RunningBox) -> None:
    box.enter("/queue/simple", {"target": "100.64.0.1", "comment": "se"})
    with Client(box.port).log_in() as client:
        box.fail(ApiFaults(garbled_comments=True))
        row, _ = client.ask("/queue/simple/print", "=.proplist=comment")
        assert row == [b"!re", b"=comment=se\xf1"]


def test_a_slow_box_serves_its_clients_one_after_the_other(box: RunningBox) -> None:
    with Client(box.port).log_in() as client, Client(box.port).log_in() as other:
        box.fail(ApiFaults(calls_per_second=50))
        began = time.monotonic()
        for number in range(5):
            client.say("/system/identity/print", f".tag={number}")
            other.say("/system/identity/print", f".tag={number}")
        for number in range(5):
            for asking in (client, other):
                assert asking.hear() == [b"!re", b".tag=%d" % number, b"=name=norte"]
                assert asking.hear() == [b"!done", b".tag=%d" % number]
        assert time.monotonic() - began >= 10 / 50


def test_a_command_that_waits_for_a_slow_box_can_be_cancelled(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        box.fail(ApiFaults(calls_per_second=2))
        client.say("/queue/simple/add", "=target=100.64.0.1", ".tag=1")
        client.say("/queue/simple/add", "=target=100.64.0.2", ".tag=2")
        assert client.ask("/cancel", "=tag=2")[0][0] == b"!trap"
        heard = [client.hear() for _ in range(2)]
        assert [b"!done", b".tag=1", b"=ret=*1"] in heard
    assert [row["target"] for row in box.rows("/queue/simple")] == ["100.64.0.1/32"]


def test_a_box_can_refuse_every_login(box: RunningBox) -> None:
    box.fail(ApiFaults(refuses_logins=True))
    with Client(box.port) as client:
        assert client.ask("/login", f"=name={USER}", f"=password={PASSWORD}")[0][0] == b"!trap"


def test_a_reboot_drops_clients_and_sessions_and_keeps_what_was_written(box: RunningBox) -> None:
    box.open(ActiveSession("81300077", "ana", "100.64.0.7"))
    with Client(box.port).log_in() as client:
        client.ask("/queue/simple/add", "=name=kept", "=target=100.64.0.1")
        box.reboot()
        assert client.is_ended()
    with Client(box.port).log_in() as again:
        assert again.ask("/ppp/active/print") == [[b"!empty"], [b"!done"]]
        assert again.ask("/queue/simple/print", "=.proplist=name")[0] == [b"!re", b"=name=kept"]


def test_a_client_can_reboot_the_box(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        assert client.ask("/system/reboot") == [[b"!done"]]
        assert client.is_ended()
    with Client(box.port).log_in() as again:
        assert again.ask("/system/resource/print", "=.proplist=uptime")[0] == [b"!re", b"=uptime=0s"]


def test_a_disabled_service_takes_nobody(box: RunningBox) -> None:
    with Client(box.port).log_in() as client:
        client.ask("/ip/service/set", "=.id=api-ssl", "=disabled=yes")
    with Client(box.tls_port, trusting()) as client:
        assert client.is_ended()
