"""Decides how secrets are encrypted at rest.

Rule: AES-256-GCM with a random nonce in front; the context names the row a secret belongs to and is authenticated, so
that a secret moved to another row cannot be opened. Every use has a key of its own, derived from the one in the file.
"""

from __future__ import annotations

import binascii
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.errors import CaudalError

KEY_FILE = "caudal.key"
KEY_OCTETS = 32
# NIST SP 800-38D section 8.2: 96 random bits; safe for 2**32 seals under one key.
NONCE_OCTETS = 12
# Everybody else's bits of a file mode.
_OTHERS = 0o077
_SEAL = b"caudal: secrets at rest"


class VaultError(CaudalError):
    """A secret or the key that protects it cannot be used."""


class Vault:
    """Seals and opens secrets."""

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_OCTETS:
            raise VaultError(
                f"the key of the vault has {len(key)} octets instead of {KEY_OCTETS}; restore it from a backup"
            )
        self._key = key
        self._cipher = AESGCM(self.derive(_SEAL))

    @classmethod
    def open_directory(cls, data: Path, credential: Path | None = None) -> Vault:
        """Open the vault with the credential's key, else with the data directory's, created when missing."""
        if credential is not None:
            return cls(_read_key(credential))
        file = data / KEY_FILE
        if not file.exists():
            _create_key(file)
        if file.stat().st_mode & _OTHERS:
            raise VaultError(f"{file} can be read by other users; run: chmod 600 {file}")
        return cls(_read_key(file))

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag of `plain`, bound to `context`."""
        nonce = os.urandom(NONCE_OCTETS)
        return nonce + self._cipher.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed under `context`. Raise VaultError."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], context)
        except (InvalidTag, ValueError):
            place = context.decode(errors="replace")
            raise VaultError(
                f"the secret of {place} cannot be opened; restore the {KEY_FILE} with which this database was written"
            ) from None

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 octets for one purpose, always the same under one key."""
        return HKDF(algorithm=SHA256(), length=KEY_OCTETS, salt=None, info=purpose).derive(self._key)


def _read_key(file: Path) -> bytes:
    try:
        return binascii.unhexlify(file.read_bytes().strip())
    except OSError as error:
        raise VaultError(
            f"the key file {file} cannot be read: {error.strerror}; it is needed to open secrets"
        ) from error
    except binascii.Error:
        raise VaultError(
            f"{file} does not hold {2 * KEY_OCTETS} hexadecimal digits; restore it from a backup"
        ) from None


def _create_key(file: Path) -> None:
    """Write a new key so that no reader ever sees half of it; whoever comes second uses the first one's."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(KEY_OCTETS).hex().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _publish(draft, file)
    except OSError as error:
        raise VaultError(
            f"the key file {file} cannot be created: {error.strerror}; make its directory writable"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, file: Path) -> None:
    try:
        os.link(draft, file)
    except FileExistsError:
        return
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
