"""Which attributes exist, and how a person's text becomes their octets and back.

Rule: a value that does not fit its attribute is refused, never cut (RFC 2865 §5, 5.26); octets that do not fit are
shown as hexadecimal, never refused (RFC 6929 §2.8).

The files are in FreeRADIUS's dictionary format. pyrad reads it too, but skips the vendors whose sub-attributes have
another form than type 1, length 1 (USR, Lucent, Starent, WiMAX), prefixes and nested attributes: one reader for all is
shorter than pyrad and a second one for its gaps. The tests compare the two wherever pyrad reads a definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import NamedTuple

from domain.errors import CaudalError
from radius.attribute_text import CODECS, Kind, hexadecimal

LARGEST_VALUE = 253
"""Octets an attribute carries besides its type and length (RFC 2865 §5)."""
VENDOR_SPECIFIC = 26
"""RFC 2865 §5.26."""
VENDOR_ID_OCTETS = 4
"""RFC 2865 §5.26."""
HIGHEST_TAG = 0x1F
"""RFC 2868 §3.1: a larger first octet is part of the value."""
MORE_FOLLOWS = 0x80
"""The continuation octet of a WiMAX attribute whose value goes on in the next one (NWG_R1_V1.2-Stage-3)."""
NAMES_SUGGESTED = 3

_NO_VALUES: Mapping[str, int] = MappingProxyType({})
_NO_NAMES: Mapping[int, str] = MappingProxyType({})


class DictionaryError(CaudalError):
    """A dictionary file that ships with the product cannot be read."""

    def __init__(self, file: str, line: int, why: str) -> None:
        super().__init__(f"{file}, line {line}: {why}; install the product again")


class UnknownAttribute(CaudalError):
    """No dictionary defines the name."""

    def __init__(self, name: str, close: list[str]) -> None:
        hint = f"did you mean {' or '.join(close)}?" if close else "see radius/dictionaries for the names known"
        super().__init__(f"no RADIUS attribute is called {name[:80]!r}; {hint}")
        self.name = name
        self.close = close


class InvalidValue(CaudalError):
    """The text is no value of the attribute. The text itself is not repeated, for it may be a key."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class Attribute:
    """One definition. `path` leads from `code` down to a member of a TLV or of an extended attribute (RFC 6929)."""

    name: str
    vendor: int
    code: int
    kind: Kind
    tagged: bool
    encrypt: int
    values: Mapping[str, int]
    names: Mapping[int, str]
    path: tuple[int, ...] = ()


class VendorFormat(NamedTuple):
    """How a vendor's sub-attributes begin. `continued`: an octet after the length says whether the value goes on."""

    type_octets: int = 1
    length_octets: int = 1
    continued: bool = False

    @property
    def header_octets(self) -> int:
        """Return what precedes the value within the vendor's data."""
        return self.type_octets + self.length_octets + self.continued


RFC_2865_FORMAT = VendorFormat()
"""The form RFC 2865 §5.26 suggests; a vendor without another one has it."""


class Dictionary:
    """Every known attribute, by name and by number."""

    def __init__(self, attributes: list[Attribute], formats: Mapping[int, VendorFormat]) -> None:
        self._by_name = {attribute.name.lower(): attribute for attribute in attributes}
        self._by_number = {(a.vendor, a.code, *a.path): a for a in attributes}
        self._formats = formats

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self._by_name.values())

    def by_name(self, name: str) -> Attribute:
        """Return the attribute called `name`, in any case. Raise UnknownAttribute."""
        attribute = self._by_name.get(name.lower())
        if attribute is None:
            close = get_close_matches(name[:80].lower(), self._by_name, NAMES_SUGGESTED)
            raise UnknownAttribute(name, [self._by_name[key].name for key in close])
        return attribute

    def by_code(self, vendor: int, code: int) -> Attribute | None:
        """Return the attribute with that number; vendor 0 is the standard space."""
        return self._by_number.get((vendor, code))

    def vendor_format(self, vendor: int) -> tuple[int, int]:
        """Return the octets of a vendor's type and length fields."""
        return self._formats.get(vendor, RFC_2865_FORMAT)[:2]

    def is_continued(self, vendor: int) -> bool:
        """Return whether a continuation octet follows the length of a vendor's attributes (WiMAX)."""
        return self._formats.get(vendor, RFC_2865_FORMAT).continued

    def encode(self, name: str, text: str, *, tag: int | None = None) -> bytes:
        """Return attribute `name` with the value `text`, whole, as it stands in a packet.

        Raise UnknownAttribute, InvalidValue.
        """
        attribute = self.by_name(name)
        value = _tagged(attribute, _encode_value(attribute, text), tag)
        return self._frame(attribute, self._nest(attribute, value))

    def decode(self, vendor: int, code: int, value: bytes) -> str:
        """Return the value as text, without its tag; what does not fit the definition is shown as 0x. Never raises.

        A value that came in several continued attributes is given joined, without continuation octets.
        """
        return self._show((vendor, code), value)

    def _nest(self, attribute: Attribute, value: bytes) -> bytes:
        """Wrap the value of a member into the attributes it lies in, from the inside out."""
        number = (attribute.vendor, attribute.code, *attribute.path)
        for depth in range(len(number) - 1, 1, -1):
            if self._by_number[number[:depth]].kind is Kind.EXTENDED:
                value = bytes((number[depth],)) + value
            elif len(value) > LARGEST_VALUE:
                raise _too_long(attribute, LARGEST_VALUE, len(value))
            else:
                value = bytes((number[depth], len(value) + 2)) + value
        return value

    def _frame(self, attribute: Attribute, value: bytes) -> bytes:
        if attribute.vendor == 0:
            if len(value) > LARGEST_VALUE:
                raise _too_long(attribute, LARGEST_VALUE, len(value))
            return bytes((attribute.code, len(value) + 2)) + value
        form = self._formats.get(attribute.vendor, RFC_2865_FORMAT)
        room = LARGEST_VALUE - VENDOR_ID_OCTETS - form.header_octets
        limit = LARGEST_VALUE if form.continued else room
        if len(value) > limit:
            raise _too_long(attribute, limit, len(value))
        parts = [value[start : start + room] for start in range(0, len(value), room)]
        return b"".join(
            _vendor_specific(attribute, form, part, last=number == len(parts)) for number, part in enumerate(parts, 1)
        )

    def _show(self, number: tuple[int, ...], value: bytes) -> str:
        attribute = self._by_number.get(number)
        if attribute is None or attribute.encrypt:
            return hexadecimal(value)
        try:
            if attribute.kind is Kind.TLV:
                return " ".join(self._show_member((*number, code), member) for code, member in _members(value))
            if attribute.kind is Kind.EXTENDED:
                return self._show_member((*number, value[0]), value[1:])
            return _decode_value(attribute, value)
        except (ValueError, IndexError, OverflowError):
            return hexadecimal(value)

    def _show_member(self, number: tuple[int, ...], value: bytes) -> str:
        attribute = self._by_number.get(number)
        name = attribute.name if attribute else ".".join(map(str, number[1:]))
        return f"{name}={self._show(number, value)}"


@lru_cache(maxsize=1)
def load() -> Dictionary:
    """Return the dictionary that ships with the product."""
    reader = _Reader(files("radius").joinpath("dictionaries"))
    reader.read("dictionary")
    return reader.dictionary()


def _too_long(attribute: Attribute, limit: int, octets: int) -> InvalidValue:
    return InvalidValue(attribute.name, f"has room for {limit} octets, the value takes {octets}; shorten it")


def _vendor_specific(attribute: Attribute, form: VendorFormat, value: bytes, *, last: bool) -> bytes:
    size = form.header_octets + len(value)
    return b"".join(
        (
            bytes((VENDOR_SPECIFIC, 2 + VENDOR_ID_OCTETS + size)),
            attribute.vendor.to_bytes(VENDOR_ID_OCTETS),
            attribute.code.to_bytes(form.type_octets),
            size.to_bytes(form.length_octets) if form.length_octets else b"",
            bytes((0 if last else MORE_FOLLOWS,)) if form.continued else b"",
            value,
        )
    )


def _members(value: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(value):
        size = value[offset + 1]
        if size < 2 or offset + size > len(value):
            raise ValueError("a member of the attribute overruns it")
        yield value[offset], value[offset + 2 : offset + size]
        offset += size


def _tagged(attribute: Attribute, value: bytes, tag: int | None) -> bytes:
    """Put the tag before the value, or into the high octet of an integer (RFC 2868 §3)."""
    if tag is not None and not attribute.tagged:
        raise InvalidValue(attribute.name, "carries no tag; leave the tag out")
    if tag is not None and not 1 <= tag <= HIGHEST_TAG:
        raise InvalidValue(attribute.name, f"tag {tag} is not within 1 to {HIGHEST_TAG}")
    if not attribute.tagged:
        return value
    if attribute.kind is not Kind.INTEGER:
        return value if tag is None and value[0] > HIGHEST_TAG else bytes((tag or 0,)) + value
    if value[0]:
        raise InvalidValue(attribute.name, "its tag leaves 24 bits for the number; give at most 16777215")
    return bytes((tag or 0,)) + value[1:]


def _encode_value(attribute: Attribute, text: str) -> bytes:
    name = attribute.name
    if attribute.encrypt:
        raise InvalidValue(name, "is encrypted for each packet and cannot be a fixed reply attribute; leave it out")
    codec = CODECS.get(attribute.kind)
    if codec is None:
        raise InvalidValue(name, f"of type {attribute.kind} has no text form; set its members instead")
    number = _named_number(attribute, text) if codec.is_number else None
    try:
        value = codec.encode(text if number is None else str(number))
    except (ValueError, OverflowError):
        hint = ["", *get_close_matches(text[:80], attribute.values, NAMES_SUGGESTED)]
        raise InvalidValue(name, f"takes {codec.form}{' or '.join(hint)}") from None
    if not value:
        raise InvalidValue(name, "is empty, and RADIUS has no empty values; leave the attribute out")
    return value


def _named_number(attribute: Attribute, text: str) -> int | None:
    number = attribute.values.get(text)
    if number is None:
        return next((number for name, number in attribute.values.items() if name.lower() == text.lower()), None)
    return number


def _decode_value(attribute: Attribute, value: bytes) -> str:
    if attribute.tagged and value[0] <= HIGHEST_TAG:
        value = b"\0" + value[1:] if attribute.kind is Kind.INTEGER else value[1:]
    codec = CODECS.get(attribute.kind)
    if codec is None:
        return hexadecimal(value)
    text = codec.decode(value)
    return attribute.names.get(int(text), text) if attribute.names and codec.is_number else text


@dataclass(slots=True)
class _Definition:
    """An ATTRIBUTE line, before the VALUE lines that may follow anywhere are known."""

    name: str
    number: tuple[int, ...]
    kind: Kind
    flags: str


@dataclass(slots=True)
class _Reader:
    """Collects the definitions of dictionary files."""

    folder: Traversable
    definitions: list[_Definition] = field(default_factory=list)
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    vendors: dict[str, int] = field(default_factory=dict)
    formats: dict[int, VendorFormat] = field(default_factory=dict)

    def read(self, name: str) -> None:
        """Read the file `name` and those it includes. Raise DictionaryError."""
        vendor = 0
        for line_number, line in enumerate(self.folder.joinpath(name).read_text("utf-8").splitlines(), 1):
            words = line.partition("#")[0].split()
            try:
                match words:
                    case ["VALUE", attribute, value, number]:
                        self.values.setdefault(attribute, {})[value] = int(number, 0)
                    case ["ATTRIBUTE", attribute, number, kind, *flags]:
                        codes = (vendor, *(int(part, 0) for part in number.split(".")))
                        flag_list = flags[0] if flags else ""
                        self.definitions.append(_Definition(attribute, codes, Kind(kind.partition("[")[0]), flag_list))
                    case []:
                        pass
                    case ["VENDOR", vendor_name, number, *form]:
                        self._vendor(vendor_name, int(number), form)
                    case ["BEGIN-VENDOR", vendor_name]:
                        vendor = self.vendors[vendor_name]
                    case ["END-VENDOR", _]:
                        vendor = 0
                    case ["$INCLUDE", file]:
                        self.read(file)
                    case _:
                        raise DictionaryError(name, line_number, "no such statement")
            except (ValueError, LookupError) as error:
                raise DictionaryError(name, line_number, f"{type(error).__name__} {error}") from error

    def dictionary(self) -> Dictionary:
        """Return what was read."""
        return Dictionary([self._attribute(definition) for definition in self.definitions], self.formats)

    def _vendor(self, name: str, number: int, form: list[str]) -> None:
        self.vendors[name] = number
        if form:
            type_octets, length_octets, *continued = form[0].removeprefix("format=").split(",")
            self.formats[number] = VendorFormat(int(type_octets), int(length_octets), continued == ["c"])

    def _attribute(self, definition: _Definition) -> Attribute:
        values = self.values.get(definition.name)
        vendor, code, *path = definition.number
        flags = definition.flags
        return Attribute(
            definition.name,
            vendor,
            code,
            definition.kind,
            "has_tag" in flags,
            int(flags[flags.index("encrypt=") + 8]) if "encrypt=" in flags else 0,
            values or _NO_VALUES,
            {number: name for name, number in values.items()} if values else _NO_NAMES,
            tuple(path),
        )
