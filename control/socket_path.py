"""Where the control socket is, however deep its directory.

Rule: a Unix socket's path has a limit, a data directory's has not; beyond the limit the directory is named by its
descriptor.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NAME = "control.sock"
PATH_LIMIT_OCTETS = 107
"""sockaddr_un.sun_path holds 108 octets, one of them the final NUL (unix(7))."""


@contextlib.contextmanager
def within_limit(path: Path) -> Iterator[str]:
    """Lend a name of `path` that fits into a socket address; raises OSError when its directory cannot be opened."""
    if len(os.fsencode(path)) <= PATH_LIMIT_OCTETS:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
