"""The settings of the embedded PostgreSQL, each with its reason.

Rule: durability is never traded for speed, and nothing listens outside the data directory. An operator's own settings
in postgresql.conf win over these.
"""

from __future__ import annotations

import os

PORT = 5432
SETTINGS_FILE = "caudal.conf"
MEBIBYTE = 1024 * 1024

SETTINGS = """\
# Written by Caudal at every start: do not edit. Your own settings go to the end of postgresql.conf; they win.

# Reachable only through the socket in this directory, which only its owner can enter.
listen_addresses = ''
port = {port}
unix_socket_directories = '.'
unix_socket_permissions = 0700
cluster_name = 'caudal'

# An answer to a router means that the record is safe: these are never traded for speed.
fsync = on
synchronous_commit = on
full_page_writes = on

# A quarter of the memory, at least 128 MB and at most 2 GB, because Caudal shares the machine.
shared_buffers = {shared_buffers_mebibytes}MB
effective_cache_size = {effective_cache_mebibytes}MB
max_connections = 100

# The first write to a page after a checkpoint logs the whole page: checkpoints far apart keep the log small. This build
# can compress those pages with pglz only, which cost 20 to 45 % of the updates per second (pgbench, two cores).
checkpoint_timeout = 15min
max_wal_size = 2GB
wal_compression = off

# Session rows are rewritten every few minutes: vacuum early and without long pauses, so that they stay in place (HOT).
autovacuum_naptime = 15s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 2000

# Short statements: compiling one costs more than it saves. Flash reads in any order at nearly the same price.
jit = off
random_page_cost = 1.1
max_logical_replication_workers = 0

# Errors reach the daemon, which reports them; statements and rows stay out of the log, they may hold personal data.
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
log_line_prefix = '%m [%p] '
log_timezone = 'UTC'
timezone = 'UTC'
"""

INCLUDE = f"\n# Caudal's settings. What you write below this line wins over them.\ninclude = '{SETTINGS_FILE}'\n"


def settings() -> str:
    """Return the server's settings for this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MEBIBYTE
    return SETTINGS.format(
        port=PORT,
        shared_buffers_mebibytes=min(max(memory // 4, 128), 2048),
        effective_cache_mebibytes=max(memory // 2, 256),
    )
