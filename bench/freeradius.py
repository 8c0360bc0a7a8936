"""FreeRADIUS 3.2 with rlm_sql_postgresql as a fair expert would set it up: the yardstick.

Rule: Debian's own schema and queries, nothing that it need not do (no logs, no groups, no post-authentication record),
and the thread and connection pool that measured best.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any, Final

import psycopg2
import psycopg2.extensions

from bench import child
from bench.errors import BenchError
from bench.load import SECRET

PROGRAM: Final = "freeradius"
DEBIAN_SQL: Final = Path("/etc/freeradius/3.0/mods-config/sql/main/postgresql")
START_TIMEOUT_SECONDS: Final = 15
# Sizes of the thread and connection pool that a run tries before it compares: around what two cores can use.
POOL_SIZES: Final = (8, 16, 32, 48)

CONFIGURATION: Final = """\
prefix = /usr
libdir = /usr/lib/freeradius
logdir = {directory}
run_dir = {directory}
raddbdir = {directory}
pidfile = {directory}/freeradius.pid
max_request_time = 30
cleanup_delay = 2
max_requests = 65536
hostname_lookups = no
log {{
    destination = stdout
    auth = no
}}
security {{
    max_attributes = 200
    reject_delay = 0
    status_server = yes
}}
proxy_requests = no
thread pool {{
    start_servers = {threads}
    max_servers = {threads}
    min_spare_servers = {threads}
    max_spare_servers = {threads}
    max_requests_per_server = 0
    max_queue_size = 65536
    auto_limit_acct = no
}}
client loopback {{
    ipaddr = 127.0.0.1
    secret = {secret}
    require_message_authenticator = no
    shortname = bench
}}
modules {{
    expr {{
    }}
    pap {{
    }}
    chap {{
    }}
    mschap {{
    }}
    sql {{
        dialect = "postgresql"
        driver = "rlm_sql_postgresql"
        radius_db = "{connection}"
        acct_table1 = "radacct"
        acct_table2 = "radacct"
        postauth_table = "radpostauth"
        authcheck_table = "radcheck"
        groupcheck_table = "radgroupcheck"
        authreply_table = "radreply"
        groupreply_table = "radgroupreply"
        usergroup_table = "radusergroup"
        client_table = "nas"
        group_attribute = "SQL-Group"
        read_groups = no
        read_profiles = no
        read_clients = no
        delete_stale_sessions = no
        pool {{
            start = {threads}
            min = {threads}
            max = {threads}
            spare = 0
            uses = 0
            retry_delay = 1
            lifetime = 0
            idle_timeout = 0
        }}
        $INCLUDE {queries}
    }}
}}
instantiate {{
    expr
}}
server bench {{
    listen {{
        type = auth
        ipaddr = 127.0.0.1
        port = {auth_port}
        recv_buff = 4194304
    }}
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {acct_port}
        recv_buff = 4194304
    }}
    authorize {{
        chap
        mschap
        sql
        pap
    }}
    authenticate {{
        Auth-Type PAP {{
            pap
        }}
        Auth-Type CHAP {{
            chap
        }}
        Auth-Type MS-CHAP {{
            mschap
        }}
    }}
    preacct {{
        update request {{
            &Acct-Unique-Session-Id := "%{{md5:%{{User-Name}},%{{Acct-Session-ID}},%{{NAS-IP-Address}},%{{NAS-Port}}}}"
        }}
    }}
    accounting {{
        sql
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class FreeRadius:
    """A running FreeRADIUS and its ports."""

    child: child.Child
    auth_port: int
    acct_port: int

    def stop(self) -> None:
        """End it."""
        self.child.stop()


def version() -> str:
    """Return the version it reports of itself."""
    program = which(PROGRAM)
    if program is None or not DEBIAN_SQL.is_dir():
        raise BenchError("FreeRADIUS is missing: apt install freeradius freeradius-postgresql, and run as root")
    said = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=True).stdout
    return said.split("Version", 1)[1].split(",")[0].strip()


def load_users(dsn: str, count: int) -> None:
    """Create Debian's schema in the empty database and fill it with users, each with rates, address and Class."""
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute((DEBIAN_SQL / "schema.sql").read_text())
            _copy(cursor, "radcheck", _passwords(count))
            _copy(cursor, "radreply", _replies(count))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
    finally:
        connection.close()


def start(dsn: str, directory: Path, radload: Path, threads: int) -> FreeRadius:
    """Write a private configuration into `directory`, start the server on it and wait until it answers."""
    auth_port, acct_port = child.free_udp_ports(2)
    directory.mkdir(parents=True, exist_ok=True)
    configuration = CONFIGURATION.format(
        directory=directory.resolve(),
        threads=threads,
        secret=SECRET,
        connection=_connection_string(dsn),
        queries=DEBIAN_SQL / "queries.conf",
        auth_port=auth_port,
        acct_port=acct_port,
    )
    (directory / "radiusd.conf").write_text(configuration)
    (directory / "dictionary").write_text("")
    command = [PROGRAM, "-f", "-l", "stdout", "-n", "radiusd", "-d", str(directory.resolve())]
    server = FreeRadius(child.start("FreeRADIUS", command, directory / "output.log"), auth_port, acct_port)
    try:
        child.answers_status(server.child, SECRET, auth_port, START_TIMEOUT_SECONDS, radload)
    except BaseException:
        server.stop()
        raise
    return server


def _connection_string(dsn: str) -> str:
    # rlm_sql hands radius_db to libpq as it stands when it is in keyword form.
    parts = psycopg2.extensions.parse_dsn(dsn)
    return " ".join(f"{key}={value}" for key, value in parts.items())


def _passwords(count: int) -> Iterator[str]:
    for number in range(1, count + 1):
        yield f"user{number}\tCleartext-Password\t:=\tpass{number}\n"


def _replies(count: int) -> Iterator[str]:
    for number in range(1, count + 1):
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        yield f"user{number}\tMikrotik-Rate-Limit\t=\t10M/20M\n"
        yield f"user{number}\tFramed-IP-Address\t=\t{address}\n"
        yield f"user{number}\tClass\t=\t0x{number:016x}\n"


def _copy(cursor: Any, table: str, rows: Iterator[str]) -> None:
    cursor.copy_expert(f"COPY {table} (username, attribute, op, value) FROM STDIN", io.StringIO("".join(rows)))
