"""The packet path looks rows up by key, whatever PostgreSQL believes about its tables."""

from __future__ import annotations

import re

import psycopg2
import pytest

from storage import admissions, session_rows, standings
from storage.pipeline import SESSION_OPTIONS

STATEMENTS = {**session_rows.PREPARED, **admissions.PREPARED, **standings.PREPARED}
LOOK_UPS = sorted(set(STATEMENTS) - {"add_facts", "keep_quarantined"})
DAY = """
INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, line, state,
    started_at, updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down, gigawords)
SELECT i, 1, '', 's' || i, 0, 1, nullif(i % 2, 0), 'u' || i, i, 0, now(), now(), now(), 0, 0, 0, 0, 0, false
FROM generate_series(1, 5000) AS i"""
NIGHT = "UPDATE session SET state = 1"


def plan_of(cursor: psycopg2.extensions.cursor, name: str) -> list[str]:
    """Return the generic plan of a prepared statement, a line an element."""
    statement = STATEMENTS[name]
    header = re.search(r"PREPARE \w+\((.*?)\) AS", statement, re.DOTALL)
    assert header is not None
    cursor.execute(statement)
    arguments = ",".join("'{}'" if "[]" in kind else "'1'" for kind in header[1].split(","))
    cursor.execute(f"EXPLAIN (COSTS OFF) EXECUTE {name}({arguments})")
    return [line for (line,) in cursor.fetchall()]


def full_scans(plan: list[str]) -> list[str]:
    """Return the lines that read a whole table or a whole index."""
    found = [line for line in plan if "Seq Scan" in line]
    for line, below in zip(plan, [*plan[1:], ""], strict=True):
        if "Index" in line and " Scan " in line and "Index Cond" not in below:
            found.append(line)
    return found


@pytest.mark.parametrize("name", LOOK_UPS)
@pytest.mark.parametrize("statistics", ["of a new table", "of a day", "of a night without sessions"])
def test_no_statement_of_a_batch_reads_a_whole_table(database_dsn: str, name: str, statistics: str) -> None:
    connection = psycopg2.connect(database_dsn, options=SESSION_OPTIONS)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            if statistics != "of a new table":
                cursor.execute(DAY)
                if statistics == "of a night without sessions":
                    # The index of open lines is now larger than that of open services; both are believed to be empty.
                    cursor.execute(NIGHT)
                cursor.execute("VACUUM ANALYZE session")
            assert full_scans(plan_of(cursor, name)) == []
    finally:
        connection.close()
