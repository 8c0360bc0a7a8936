"""PostgreSQL literals for the packet path, where whole batches travel as a handful of arrays.

Rule: text from the network reaches SQL through `texts` and the octets' functions alone; they quote every element for
the array and the whole for the literal (standard_conforming_strings is forced on for each connection).
"""

from __future__ import annotations

from collections.abc import Iterable


def integers(values: list[int]) -> str:
    """Return the quoted array of whole numbers."""
    return f"'{{{str(values)[1:-1]}}}'"


def optional_integers(values: Iterable[int | None]) -> str:
    """Return the quoted array of whole numbers and NULLs."""
    return "'{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}'"


def booleans(values: Iterable[bool]) -> str:
    """Return the quoted array of booleans."""
    return "'{" + ",".join(["t" if value else "f" for value in values]) + "}'"


def texts(values: Iterable[str | None]) -> str:
    """Return the quoted array of texts and NULLs; NUL characters, which PostgreSQL has not, become U+FFFD."""
    joined = ",".join(["NULL" if value is None else _element(value) for value in values])
    return "'{" + joined.replace("'", "''") + "}'"


def _element(value: str) -> str:
    if "\\" in value or '"' in value or "\0" in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\ufffd")
    return f'"{value}"'


def octet_strings(values: Iterable[bytes | None]) -> str:
    """Return the quoted array of bytea elements and NULLs."""
    return "'{" + ",".join(["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]) + "}'"


def octets(value: bytes) -> str:
    """Return the quoted bytea literal."""
    return f"'\\x{value.hex()}'"
