"""Where the key of the vault lies: a systemd credential where there is one, else the data directory."""

from __future__ import annotations

import os
from pathlib import Path

from storage.vault import KEY_FILE, Vault


def open_vault(data: Path) -> Vault:
    """Open the vault of this installation, with a new key where there is none; raise `VaultError`."""
    return Vault.open_directory(data, _credential())


def key_exists(data: Path) -> bool:
    """Tell whether this installation has its key."""
    return _credential() is not None or (data / KEY_FILE).exists()


def _credential() -> Path | None:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory) / KEY_FILE if directory else None
    return credential if credential is not None and credential.exists() else None
