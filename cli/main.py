"""The `caudal` command.

Rule: each command is imported when it runs; every failure is one line on standard error and an exit status: 1 where
something went wrong, 2 where the command was misused, 130 after Ctrl-C. A reader that goes away ends it without a word.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import click

from cli.errors import CommandError
from cli.lazy import Entry, LazyGroup
from domain.errors import CaudalError

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
_DID_YOU_MEAN = re.compile(r"\.? \(?Did you mean (?:one of: )?(.*?)\?\)?$")
"""Click has two ways to say it; neither fits into a sentence that goes on."""

SECTIONS = {
    "The daemon": {
        "serve": Entry("cli.serve", "serve", "Run the daemon in the foreground."),
        "status": Entry("cli.status", "status", "Show how the daemon is."),
        "check": Entry("cli.serve", "check", "Check the configuration and the machine without starting."),
        "migrate": Entry("cli.serve", "migrate", "Bring the database to this release's schema."),
        "simulate": Entry(
            "cli.simulate",
            "simulate",
            "Run a fleet of routers whose subscribers log in, move traffic and come and go.",
        ),
    },
    "Enforcement": {
        "explain": Entry(
            "cli.explain", "explain", "Show what a line may do now, which rules led there, and what would change it."
        ),
        "line": Entry("cli.line", "line", "Show which lines are proven to obey, and give orders about one."),
        "topup": Entry("cli.top_up", "topup", "Buy and show top-ups."),
    },
    "Billing": {
        "invoice": Entry("cli.invoice", "invoice", "Run what is due, and show invoices and other documents."),
        "payment": Entry("cli.payment", "payment", "Book, give back and show payments."),
        "card": Entry("cli.card", "card", "Store, charge and show cards."),
        "bank": Entry("cli.bank", "bank", "Import files of the bank, and settle what they leave open."),
        "account": Entry("cli.payment", "account", "Show how a customer's account stands, and give orders about it."),
        "statement": Entry("cli.statement", "statement", "Show a customer's account: every document and payment."),
        "wallet": Entry("cli.wallet", "wallet", "Keep amounts of a wallet for something under way, and charge them."),
        "deposit": Entry(
            "cli.deposit", "deposit", "Hold money for customers, give it back, or pay with it what is open."
        ),
        "meter": Entry("cli.meter", "meter", "Report and show what is charged by events."),
        "calendar": Entry("cli.payment", "calendar", "List the days on which a customer is reminded, slowed, blocked."),
        "reminder": Entry("cli.reminder", "reminder", "Show whom to remind of what is not paid."),
        "price": Entry("cli.price", "price", "Change what products cost."),
        "voucher": Entry("cli.voucher", "voucher", "Make, print, show, void and redeem vouchers."),
        "product": Entry("cli.sales", "product", "Show what is sold."),
        "subscription": Entry(
            "cli.subscription", "subscription", "Show, begin, change, pause and end what is sold to customers."
        ),
        "discount": Entry("cli.sales", "discount", "Give, show and end discounts."),
        "charge": Entry("cli.sales", "charge", "Charge one-time items, and show them."),
        "ledger": Entry("cli.ledger", "ledger", "Check, show and close the books."),
        "clock": Entry("cli.ledger", "clock", "Show the clock of billing, and move that of a test database."),
    },
    "Provisioning": {
        "apply": Entry("cli.provisioning", "apply", "Create and update what a TOML file describes."),
        "export": Entry("cli.provisioning", "export", "Write what is provisioned, as TOML."),
        "import": Entry("cli.provisioning", "import_", "Import many services from a CSV file."),
        "router": Entry("cli.directory", "router", "Show routers and other NAS devices."),
        "pool": Entry("cli.directory", "pool", "Show address pools."),
        "plan": Entry("cli.directory", "plan", "Show plans."),
        "customer": Entry("cli.directory", "customer", "Show customers."),
        "service": Entry("cli.directory", "service", "Show services."),
    },
    "Lines": {
        "session": Entry("cli.session", "session", "Show who is on line, and who was."),
        "usage": Entry("cli.usage", "usage", "Show what a service used."),
        "login": Entry("cli.login", "login", "Show refused logins and why."),
        "quarantine": Entry("cli.login", "quarantine", "Show accounting records that could not be booked."),
    },
    "The command": {
        "completion": Entry("cli.completion", "completion", "Write the shell's completion script."),
        "version": Entry("cli.status", "version", "Show the version."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    example="caudal session list",
)
def caudal() -> None:
    """RADIUS, accounting and billing for access networks."""


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    try:
        status = caudal.main(list(arguments), prog_name="caudal", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return MISUSED
    except click.UsageError as error:
        return _complain(_usage(error), MISUSED)
    except click.ClickException as error:
        return _complain(error.format_message(), FAILED)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as end:
        # Click ends so after a completion, and when nobody reads what a command writes.
        return end.code if isinstance(end.code, int) else FAILED
    except BrokenPipeError:
        # Nothing more can be written; without this the interpreter would complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except CommandError as error:
        for detail in error.details:
            click.echo(detail, err=True)
        return _complain(str(error), FAILED)
    except CaudalError as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}; correct that and try again", FAILED)
    except Exception as error:  # noqa: BLE001 - a fault of our own is one line too
        return _complain(f"this is a fault of caudal: {type(error).__name__}: {error}; please report it", FAILED)


def _usage(error: click.UsageError) -> str:
    message = (
        _DID_YOU_MEAN.sub(r"; did you mean \1?", error.format_message().replace("integer range", "integer"))
        .replace(". (", " (")
        .rstrip(".")
    )
    path = error.ctx.command_path if error.ctx else "caudal"
    return f"{message[:1].lower()}{message[1:]}; see {path} --help"


def _complain(message: str, status: int) -> int:
    click.echo(f"caudal: {' '.join(message.split())}", err=True)
    return status
