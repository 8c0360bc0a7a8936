"""What the fleet knows of its own records."""

from __future__ import annotations

from pathlib import Path

from domain.instants import Microseconds
from radius.codes import AcctStatus
from simulator.truth import Ledger, SessionTruth, TruthFile, read

START = Microseconds(1_700_000_000_123_456)
BIG = 2**53 + 1


def test_reported_and_acknowledged_octets_are_kept_apart() -> None:
    ledger = Ledger()
    account = ledger.open("ana", "norte", "81000001", START)
    account.report(AcctStatus.INTERIM, 10, 20)
    account.acknowledge(AcctStatus.INTERIM, 10, 20)
    account.report(AcctStatus.STOP, 30, 40)
    (truth,) = ledger.truth()
    assert (truth.octets_up, truth.octets_down) == (30, 40)
    assert (truth.acknowledged_up, truth.acknowledged_down, truth.acknowledged_records) == (10, 20, 1)
    assert (truth.stopped, truth.stopped_acknowledged) == (True, False)


def test_a_late_acknowledgement_of_an_older_record_lowers_nothing() -> None:
    ledger = Ledger()
    account = ledger.open("ana", "norte", "81000001", START)
    account.acknowledge(AcctStatus.STOP, 30, 40)
    account.acknowledge(AcctStatus.INTERIM, 10, 20)
    (truth,) = ledger.truth()
    assert (truth.acknowledged_up, truth.acknowledged_down, truth.stopped_acknowledged) == (30, 40, True)


def test_a_file_of_truth_keeps_every_octet_and_microsecond(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.open("ñandú", "norte", "81000001", START).report(AcctStatus.INTERIM, BIG, BIG + 1)
    file = TruthFile(tmp_path / "truth.jsonl")
    file.extend(ledger.truth())
    file.close()
    assert read(tmp_path / "truth.jsonl") == ledger.truth()


def test_a_live_file_is_readable_at_every_moment_and_wherever_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    file = TruthFile(path)
    seen: list[SessionTruth] = []

    def note(truth: SessionTruth) -> None:
        file.append(truth)
        seen.append(truth)

    account = Ledger(note).open("ana", "norte", "81000001", START)
    for octets in (1, 2, 3):
        account.report(AcctStatus.INTERIM, octets, octets)
        account.acknowledge(AcctStatus.INTERIM, octets, octets)
        assert read(path) == [seen[-1]]
    file.close()
    octets_written = path.read_bytes()
    for size in range(len(octets_written)):
        path.write_bytes(octets_written[:size])
        complete = octets_written[:size].count(b"\n")
        assert read(path) == seen[:complete][-1:]
