"""What the documents tell a reader to type, to open and to expect is there."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import click
import pytest

from cli.main import caudal

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = re.compile(r"`([^`\n]+)`|^ {4,}(.+)$", re.MULTILINE)
COMMAND = re.compile(r"(?:^|[\s/(])caudal ((?:--?[a-z]|[a-z]).*)")
LINK = re.compile(r"\[[^\]\n]+\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
END_OF_COMMAND = {"|", "&&", ";", ">", "#", "\\"}


def commands(document: Path) -> list[str]:
    """Return what stands after `caudal` in the code of a document."""
    text = document.read_text(encoding="utf-8")
    code = ["".join(found) for found in CODE.findall(text)]
    return [match[1] for piece in code if (match := COMMAND.search(piece))]


def words(line: str) -> list[str]:
    """Return the words of one command, without what a shell does with it."""
    found = []
    for word in shlex.split(line, comments=True):
        if word in END_OF_COMMAND:
            break
        found.append(word)
    return found


def unknown_word(line: str) -> str | None:
    """Return the first word that the command line does not know."""
    command: click.Command = caudal
    context = click.Context(caudal)
    rest = words(line)
    while rest and isinstance(command, click.Group) and not rest[0].startswith("-"):
        child = command.get_command(context, rest[0])
        if child is None:
            return rest[0]
        command = child
        rest.pop(0)
    known = {option for each in command.params for option in each.opts} | {"--help", "-h"}
    return next((word for word in rest if word.startswith("-") and word.partition("=")[0] not in known), None)


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as renderers of Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_command_in_a_document_exists_with_its_options(document: Path) -> None:
    assert {line: word for line in commands(document) if (word := unknown_word(line))} == {}


def test_the_documents_are_full_of_commands() -> None:
    """The test above would pass if it found none."""
    assert len({line for document in DOCUMENTS for line in commands(document)}) > 20


@pytest.mark.parametrize("line", ["sesion list", "session list --routers x", "usage ana --by=day --till 1"])
def test_a_command_that_does_not_exist_is_seen(line: str) -> None:
    assert unknown_word(line) is not None


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_each_link_in_a_document_leads_somewhere(document: Path) -> None:
    for name, anchor in LINK.findall(document.read_text(encoding="utf-8")):
        if "://" in name:
            continue
        target = document.parent / name if name else document
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


def test_the_upgrade_notes_name_this_release_and_each_migration() -> None:
    text = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    migrations = [path.name.partition("_")[0] for path in ROOT.glob("storage/migrations/versions/[0-9]*.py")]

    assert f"\n## {metadata['metadata']['version']}\n" in text
    assert migrations
    assert [number for number in migrations if number not in text] == []
