"""The demonstration ISP comes once, and never to somebody else's."""

from __future__ import annotations

import pytest
import sqlalchemy

from config.provisioning import read
from daemon.demonstration import DemonstrationError, provision
from storage.provisioning import apply
from storage.vault import Vault

VAULT = Vault(bytes(range(32)))
SLOWER = """
[[plan]]
name = "Wireless 20"
download = "10M"
upload = "2M"
"""
ANOTHER_ISP = """
[[router]]
name = "north"
address = "192.0.2.1"
secret = "secret-of-the-north"
"""


def downloads(engine: sqlalchemy.Engine) -> dict[str, int]:
    """Return the download rate of each plan."""
    with engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT name, download_bits_per_second FROM plan")).all()
    return {row.name: row.download_bits_per_second for row in rows}


def test_what_was_changed_in_the_demonstration_survives_its_next_start(engine: sqlalchemy.Engine) -> None:
    provision(engine, VAULT)
    assert downloads(engine)["Wireless 20"] == 20_000_000
    apply(engine, VAULT, read(SLOWER, "slower.toml"))
    provision(engine, VAULT)
    assert downloads(engine)["Wireless 20"] == 10_000_000


def test_the_demonstration_leaves_another_isp_alone(engine: sqlalchemy.Engine) -> None:
    apply(engine, VAULT, read(ANOTHER_ISP, "isp.toml"))
    with pytest.raises(DemonstrationError, match="--data"):
        provision(engine, VAULT)
    assert downloads(engine) == {}
