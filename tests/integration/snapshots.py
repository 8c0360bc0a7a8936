"""The configuration as the core reads it."""

from __future__ import annotations

import asyncio

from storage import snapshot
from storage.pipeline import PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault


def read_snapshot(dsn: str, vault: Vault) -> Snapshot:
    """Return routers, pools and plans as they are now."""

    async def read() -> Snapshot:
        connection = PipelineConnection(dsn, {}, application_name="snapshot")
        await connection.open()
        try:
            return await snapshot.read(connection, vault)
        finally:
            connection.close()

    return asyncio.run(read())
