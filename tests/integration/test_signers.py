"""Sources that have signed: every worker knows them soon, and a worker that begins later at once."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg2

from daemon.configuration import ConfigurationWatch
from storage.pipeline import PipelineConnection
from storage.vault import Vault

HOST = "192.0.2.7"
GIVE_UP_SECONDS = 5.0


def test_signers_are_shared_by_workers_and_outlive_them(database_dsn: str) -> None:
    with contextlib.closing(psycopg2.connect(database_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO router (name, address, secret, profile, require_message_authenticator, flip_counters)
            VALUES ('tower', '192.0.2.0/24', '', 'generic', 'auto', false) RETURNING id"""
        )
        (router_id,) = cursor.fetchone()

    def watch() -> ConfigurationWatch:
        return ConfigurationWatch(PipelineConnection(database_dsn, {}, application_name="watch"), Vault(bytes(32)))

    async def main() -> None:
        one, other = watch(), watch()
        running = []
        learned = asyncio.Event()
        take = other.signers.take

        def note(sources: list[tuple[int, str]]) -> None:
            take(sources)
            learned.set()

        other.signers.take = note  # type: ignore[method-assign, assignment]
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                # No router: nothing is written of it, and nothing fails.
                one.signers.add(999, HOST)
                await asyncio.gather(other._reload(), one._reload())
                running = [asyncio.create_task(each.run()) for each in (one, other)]
                one.signers.add(router_id, HOST)
                await learned.wait()
            assert (router_id, HOST) in other.signers
            assert (router_id, "192.0.2.8") not in other.signers
            later = watch()
            await later._reload()
            assert (router_id, HOST) in later.signers
            assert (999, HOST) not in later.signers
        finally:
            for task in running:
                task.cancel()

    asyncio.run(main())
