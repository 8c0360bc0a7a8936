"""Completion in the shell: its script, and the names it offers.

Rule: names come from the daemon within a blink or not at all; a completion never fails aloud.
"""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import BashComplete, CompletionItem, get_completion_class

from cli.command import Command
from cli.options import data_directory

PATIENCE_SECONDS = 0.5
"""Longer than this a person at a prompt notices."""
MOST_NAMES = 100
SHELLS = ("bash", "zsh", "fish")

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class _BashComplete(BashComplete):
    """Completion for bash, which parts words at colons and quotes only what it takes for a file name."""

    # MAC addresses hold colons: words are joined again for us, and bash replaces only what follows the last one.
    # Names of plans may hold spaces.
    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value word last= words=()
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ $word == :* || $last == *: ]]; then words[-1]+=$word; else words+=("$word"); fi
        last=$word
    done
    local stays=${words[-1]%%"${words[-1]##*:}"}
    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete $1)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            plain) COMPREPLY+=("${value#"$stays"}"); [[ $value == *" "* ]] && compopt -o filenames ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@click.command("completion", cls=Command, example='eval "$(caudal completion bash)"')
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Write the shell's completion script.

    Evaluate it in the shell's start-up file.
    """
    from cli.main import caudal

    kind = _BashComplete if shell == "bash" else get_completion_class(shell)
    assert kind is not None
    click.echo(kind(caudal, {}, "caudal", "_CAUDAL_COMPLETE").source())


def named(path: str, key: str) -> Completer:
    """Return what completes a name out of the listing at `path`."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with context:
                return [CompletionItem(name) for name in _names(path, key, incomplete)]
        except Exception:  # noqa: BLE001 - a prompt is no place for an error
            return []

    return complete


def _names(path: str, key: str, incomplete: str) -> list[str]:
    from cli.client import ControlClient

    client = ControlClient(data_directory(), PATIENCE_SECONDS)
    # Logins are many, so the daemon chooses; the other kinds are few.
    parameters = {"login_prefix": incomplete} if path == "/v1/services" else {}
    names = [item[key] for items, _more in client.pages(path, parameters, MOST_NAMES) for item in items]
    return [name for name in names if name.startswith(incomplete)]
