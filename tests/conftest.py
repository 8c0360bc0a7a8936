"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy
from hypothesis import HealthCheck, settings

from storage.database import create_engine
from tests.postgres import PostgresForTests, postgres_for_tests

# Slowness is told by the benchmarks; on a busy machine it is no fault of what is tested. Properties are drawn the same
# way each time, so that a run says of a change what it does; the long form draws anew.
settings.register_profile(
    "caudal",
    deadline=None,
    derandomize="CAUDAL_SOAK" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("caudal")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """Lend the PostgreSQL of this run."""
    with postgres_for_tests() as running:
        yield running


@pytest.fixture
def database_dsn(postgres: PostgresForTests) -> Iterator[str]:
    """Lend the DSN of a migrated, empty database."""
    with postgres.database() as dsn:
        yield dsn


@pytest.fixture
def engine(database_dsn: str) -> Iterator[sqlalchemy.Engine]:
    """Lend an engine over a migrated, empty database."""
    lent = create_engine(database_dsn)
    yield lent
    lent.dispose()
