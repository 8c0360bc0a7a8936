"""Checks that both servers give the same service before their speed is compared.

Rule: an Access-Accept that lacks rates, address or Class is an error; a client of others (radclient) asks.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from bench.errors import BenchError
from bench.load import SECRET

EXPECTED: Final = ("Access-Accept", "Mikrotik-Rate-Limit", "Framed-IP-Address", "Class")
REQUEST: Final = (
    'User-Name = "user1", User-Password = "pass1", NAS-IP-Address = 127.0.0.1, NAS-Identifier = "bench-nas", '
    "NAS-Port = 15728641, NAS-Port-Type = Virtual, Service-Type = Framed-User, Framed-Protocol = PPP, "
    'Calling-Station-Id = "02:11:00:00:00:01", Message-Authenticator = 0x00\n'
)
TIMEOUT_SECONDS: Final = 10


def require_full_answer(name: str, auth_port: int) -> None:
    """Log in once and raise when the answer carries less than the comparison promises."""
    if shutil.which("radclient") is None:
        raise BenchError("radclient is missing: apt install freeradius-utils")
    done = subprocess.run(
        ["radclient", "-x", "-r", "2", "-t", "2", f"127.0.0.1:{auth_port}", "auth", SECRET],
        input=REQUEST,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    answer = done.stdout.partition("Received")[2]
    lacking = [word for word in EXPECTED if word not in answer]
    if lacking:
        raise BenchError(
            f"{name}'s answer to a login lacks {', '.join(lacking)}: {' '.join(answer.split()) or 'none came'}"
        )
