"""Secrets at rest."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.vault import KEY_FILE, NONCE_OCTETS, Vault, VaultError

KEY = bytes(range(32))


def test_what_was_sealed_is_opened() -> None:
    vault = Vault(KEY)
    for plain in (b"", b"hush", bytes(300)):
        assert vault.open(vault.seal(plain, b"service:ana"), b"service:ana") == plain


def test_the_same_secret_never_looks_the_same_twice() -> None:
    vault = Vault(KEY)
    assert vault.seal(b"hush", b"x") != vault.seal(b"hush", b"x")


def test_a_secret_moved_changed_or_cut_is_not_opened() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"hush", b"service:ana")
    with pytest.raises(VaultError, match="service:luis"):
        vault.open(sealed, b"service:luis")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(VaultError):
            vault.open(bytes(changed), b"service:ana")
    for length in range(len(sealed)):
        with pytest.raises(VaultError):
            vault.open(sealed[:length], b"service:ana")


def test_another_key_opens_nothing() -> None:
    sealed = Vault(KEY).seal(b"hush", b"x")
    with pytest.raises(VaultError, match=KEY_FILE):
        Vault(bytes(32)).open(sealed, b"x")


def test_the_nonce_stands_in_front() -> None:
    assert len(Vault(KEY).seal(b"", b"x")) == NONCE_OCTETS + 16


def test_derived_keys_differ_by_purpose_and_stay_the_same() -> None:
    vault = Vault(KEY)
    assert vault.derive(b"class") == Vault(KEY).derive(b"class")
    assert len({vault.derive(b"class"), vault.derive(b"state"), KEY}) == 3
    assert len(vault.derive(b"class")) == 32


def test_a_missing_key_file_is_made_for_its_owner_alone_and_used_again(tmp_path: Path) -> None:
    sealed = Vault.open_directory(tmp_path, None).seal(b"hush", b"x")
    file = tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    assert Vault.open_directory(tmp_path, None).open(sealed, b"x") == b"hush"


def test_starters_at_the_same_moment_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        vaults = list(threads.map(lambda _: Vault.open_directory(tmp_path, None), range(8)))
    assert len({vault.derive(b"x") for vault in vaults}) == 1


def test_a_credential_takes_the_place_of_the_key_file(tmp_path: Path) -> None:
    credential = tmp_path / "credential"
    credential.write_text(KEY.hex() + "\n")
    data = tmp_path / "data"
    data.mkdir()
    assert Vault.open_directory(data, credential).derive(b"x") == Vault(KEY).derive(b"x")
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("content", ["", "abc", "zz" * 32, "00" * 31, "00" * 33])
def test_a_damaged_key_file_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / KEY_FILE
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(VaultError, match="backup") as caught:
        Vault.open_directory(tmp_path, None)
    assert not content or content not in str(caught.value)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    Vault.open_directory(tmp_path, None)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(VaultError, match="chmod 600"):
        Vault.open_directory(tmp_path, None)


def test_a_directory_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match="cannot be created"):
        Vault.open_directory(tmp_path / "missing", None)


def test_the_key_is_not_shown() -> None:
    vault = Vault(KEY)
    assert KEY.hex() not in repr(vault)
    assert repr(KEY) not in repr(vault)
