"""Places in TOML documents are found whatever way they are written."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.toml_lines import Path, find_lines, syntax_error_line
from config.toml_text import write_value


def paths_of(value: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path of everything in a parsed document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


DOCUMENT = '''\
# comment with [brackets] and = signs
title = "a \\" # not a comment"          # 2
"quoted key" = 1                          # 3
'literal "key"' = 2
physical.colour = "orange"
physical . "shape.of" = 'it\\'
numbers = [ 1, 2,                         # 7
  # ] a comment inside
  3,
]
long = """
[[service]]
"" quotes \\"""   ends""""                 # 13 ends with a quote of its own
long_literal = \'\'\'
key = 1
'' \'\'\'\'                                  # 16
inline = { a = 1, b.c = { d = [ { e = 1 }, { e = 2 } ] }, "}" = "}" }
when = 1979-05-27 07:32:00                # 18
[[service]]
login = "one"
[service.attributes]                      # 21
"Framed-MTU" = 1492
[ [ "service" ] ]'''.replace("[ [", "[[").replace("] ]", "]]")

DOCUMENT += """
login = "two"
  [[service.address]]                     # 25
  ip = 1
  [[service.address]]
  ip = 2
[server.north."east.side"]
x = 1
[server]
y = 2
"""

EXPECTED = {
    ("title",): 2,
    ("quoted key",): 3,
    ('literal "key"',): 4,
    ("physical",): 5,
    ("physical", "colour"): 5,
    ("physical", "shape.of"): 6,
    ("numbers", 0): 7,
    ("numbers", 2): 9,
    ("long",): 11,
    ("long_literal",): 14,
    ("inline", "b", "c", "d", 1, "e"): 17,
    ("inline", "}"): 17,
    ("when",): 18,
    ("service", 0): 19,
    ("service", 0, "login"): 20,
    ("service", 0, "attributes"): 21,
    ("service", 0, "attributes", "Framed-MTU"): 22,
    ("service", 1): 23,
    ("service", 1, "login"): 24,
    ("service", 1, "address", 0): 25,
    ("service", 1, "address", 1): 27,
    ("service", 1, "address", 1, "ip"): 28,
    ("server", "north", "east.side", "x"): 30,
    ("server", "y"): 32,
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_notation_of_toml_is_found_on_its_line(newline: str) -> None:
    text = DOCUMENT.replace("\n", newline)
    assert set(EXPECTED) <= set(paths_of(tomllib.loads(text)))
    assert find_lines(text, EXPECTED) == EXPECTED


def test_what_is_not_written_stands_where_its_surroundings_begin() -> None:
    assert find_lines('\n[[service]]\nlogin = "x"\n', [("service", 0, "plan"), ("router",)]) == {
        ("service", 0, "plan"): 2,
        ("router",): 1,
    }


def test_a_syntax_error_has_the_line_tomllib_names() -> None:
    for text, line in (("a = 1\nb = \n", 2), ("a = 1\n\nb = [\n1,\n", 4), ("a = 1\na = 2\n", 2)):
        with pytest.raises(tomllib.TOMLDecodeError) as caught:
            tomllib.loads(text)
        assert syntax_error_line(text, caught.value) == line


@dataclass
class Written:
    """A document under construction, and the line of each path in it."""

    lines: list[str] = field(default_factory=list)
    places: dict[Path, int] = field(default_factory=dict)

    def line(self, text: str, *paths: Path) -> None:
        for path in paths:
            self.places.setdefault(path, len(self.lines) + 1)
        self.lines.extend(text.split("\n"))


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
SCALARS = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.text(st.sampled_from(["a", '"', "'", "\\", "#", "[", "]", "{", "}", ",", "=", " "])),
)
TABLES = st.dictionaries(KEYS, SCALARS, max_size=4)
NOTATIONS = st.sampled_from(["plain", "dotted", "inline", "array", "long"])


def write_key(key: str) -> str:
    return write_value(key)


@given(
    st.dictionaries(KEYS, st.tuples(st.sampled_from(["table", "tables"]), st.lists(TABLES, min_size=1, max_size=3))),
    st.data(),
)
def test_generated_documents_are_found_line_by_line(
    sections: dict[str, tuple[str, list[dict[str, object]]]], data: st.DataObject
) -> None:
    written = Written()
    for name, (kind, tables) in sections.items():
        for index, table in enumerate(tables if kind == "tables" else tables[:1]):
            path: Path = (name, index) if kind == "tables" else (name,)
            header = f"[[{write_key(name)}]]" if kind == "tables" else f"[ {write_key(name)} ] # comment"
            written.line(header, (name,), path)
            for key, value in table.items():
                write_pair(written, path, key, value, data.draw(NOTATIONS))
    text = "\n".join(written.lines)
    assert set(paths_of(tomllib.loads(text))) == set(written.places)
    assert find_lines(text, written.places) == written.places


def write_pair(written: Written, path: Path, key: str, value: object, notation: str) -> None:
    """Write one key in some notation, which decides what the value is wrapped into."""
    place, shown, text = (*path, key), write_key(key), write_value(value)
    if notation == "dotted":
        written.line(f"{shown} . x = {text}", place, (*place, "x"))
    elif notation == "inline":
        written.line(f"{shown} = {{ x = {text}, y = [] }}", place, (*place, "x"), (*place, "y"))
    elif notation == "array":
        written.line(f"{shown} = [ # [", place)
        written.line(f"  {text}, # ]", (*place, 0))
        written.line("]")
    elif notation == "long" and isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"""', '""\\"').removesuffix('"')
        written.line(f'{shown} = """\n{escaped}\n"""', place)
    else:
        written.line(f"{shown}={text}", place)
