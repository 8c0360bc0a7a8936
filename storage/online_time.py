"""Time on line in the present periods of many services, by one statement, weighed by the windows of their plans.

Rule: sessions that are over are added up by the database, open ones until now by who has read them; both find what
counts until an instant by the last edge that is not after it. Nothing is rounded before all is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from domain.instants import Microseconds, to_microseconds
from domain.plan_rules import CountingWindow
from enforcement.periods import Span
from enforcement.time_weights import FULL_SECOND, TimeWeights, time_weights
from storage.literals import integers, texts

_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"
_UNTIL = "t.sums[p.{at}] + t.percents[p.{at}] * (i.{at}_us - t.edges[p.{at}])"


class _Ask(NamedTuple):
    """The time on line since an instant, by the weights of number `tariff`."""

    service_id: int
    begins_us: Microseconds
    tariff: int


class OnlineTime:
    """Ask for all, put `column` into a SELECT, give its answer to `take`, and read the seconds."""

    def __init__(self, zone: tzinfo, now: datetime) -> None:
        self._zone = zone
        self._now_us = to_microseconds(now)
        self._asks: list[_Ask] = []
        self._tariffs: dict[tuple[tuple[CountingWindow, ...], Span], int] = {}
        self._weights: list[TimeWeights] = []
        self._closed: dict[int, int] = {}

    def ask(self, service_id: int, span: Span, windows: tuple[CountingWindow, ...]) -> int:
        """Ask for the time on line in a present period; return the question's number."""
        tariff = self._tariffs.setdefault((windows, span), len(self._weights))
        if tariff == len(self._weights):
            self._weights.append(time_weights(windows, self._zone, span))
        self._asks.append(_Ask(service_id, to_microseconds(span.begins), tariff))
        return len(self._asks) - 1

    def seconds(self, number: int, opened: Iterable[datetime]) -> tuple[int, int]:
        """Return the answer to a question: seconds, and of the next one so many of FULL_SECOND.

        `opened` are the beginnings of the open sessions of its service.
        """
        _, begins_us, tariff = self._asks[number]
        between, now_us = self._weights[tariff].between, self._now_us
        begun = [max(begins_us, to_microseconds(each)) for each in opened]
        weighed = sum(between(each, now_us) for each in begun if each < now_us)
        return divmod(self._closed.get(number, 0) + weighed, FULL_SECOND)

    @property
    def column(self) -> str:
        """Return the column that `take` wants."""
        return _closed(self._asks, self._weights, self._now_us) if self._asks else "NULL"

    def take(self, rows: Sequence[Sequence[int]] | None) -> None:
        """Take what sessions that are over were on line, by the question's place from 1."""
        self._closed = {place - 1: weighed for place, weighed in rows or ()}


def _closed(asks: Sequence[_Ask], weights: Sequence[TimeWeights], now_us: Microseconds) -> str:
    tariffs = ",".join(f"{texts([_array(each[column]) for each in weights])}::text[]" for column in range(3))
    columns = ",".join(f"{integers([each[column] for each in asks])}::bigint[]" for column in range(3))
    return f"""(WITH tariff AS MATERIALIZED (
            SELECT number - 1 AS id, edges::bigint[] AS edges, percents::bigint[] AS percents, sums::bigint[] AS sums
            FROM unnest({tariffs}) WITH ORDINALITY AS t(edges, percents, sums, number)
        )
        SELECT json_agg(json_build_array(u.place, s.weighed))
        FROM unnest({columns}) WITH ORDINALITY AS u(service_id, begins_us, tariff, place)
        JOIN tariff AS t ON t.id = u.tariff
        CROSS JOIN LATERAL (
            SELECT sum({_UNTIL.format(at="ends")} - ({_UNTIL.format(at="begins")})) AS weighed
            FROM session AS s
            CROSS JOIN LATERAL (SELECT least({_US.format("s.stopped_at")}, {now_us}) AS ends_us,
                greatest({_US.format("s.started_at")}, u.begins_us) AS begins_us) AS i
            CROSS JOIN LATERAL (SELECT width_bucket(i.ends_us, t.edges) AS ends,
                width_bucket(i.begins_us, t.edges) AS begins) AS p
            WHERE s.service_id = u.service_id AND s.watched AND s.state <> 0
                AND s.stopped_at > {_AT.format("u.begins_us")} AND s.started_at < {_AT.format(now_us)}
        ) AS s WHERE s.weighed IS NOT NULL)"""


def _array(values: Iterable[int]) -> str:
    return f"{{{','.join(map(str, values))}}}"
