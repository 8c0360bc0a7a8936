"""Writes the RouterOS commands that set a router up for us.

Rule: the commands may be pasted twice: what an earlier paste made, known by its comment, is replaced. A line that holds
a secret says so above itself, and holds a placeholder unless the operator asked for the secret.
"""

from __future__ import annotations

from dataclasses import dataclass

from domain.secret import Secret
from enforcement.contention import BLOCKED_LIST

MARK = "caudal"
"""The comment of everything that the script makes, and the name of its user, group and certificate."""
RADIUS_TIMEOUT = "3s"
"""RouterOS's own 1100 ms leaves no room for a slow link."""
CERTIFICATE_DAYS = 3650
FIRST_LINES = (
    "# Paste into the router's terminal. It may be pasted again: what it made before is replaced.",
    "# RouterOS 6.49 or later; a line that this version does not know is passed over where it stands in `:do`.",
)
WALLED_CHAIN = "caudal"
_API_POLICY = (
    "api,read,write,test,!local,!telnet,!ssh,!ftp,!reboot,!policy,!winbox,!password,!web,!sniff,!sensitive,!romon"
)


@dataclass(frozen=True, slots=True)
class ApiUser:
    """The user that the product logs in as."""

    name: str
    password: Secret
    tls: bool
    port: int


@dataclass(frozen=True, slots=True)
class RouterSetup:
    """What a router is told of us."""

    router: str
    server: str
    """Our address, as the router sees it."""
    secret: Secret
    authentication_port: int = 1812
    accounting_port: int = 1813
    coa_port: int = 3799
    interim_seconds: int = 300
    api: ApiUser | None = None
    walled_list: str | None = None
    """The address list of lines in the walled garden."""
    portal: str | None = None
    """The address of the portal that they may reach."""


def script(setup: RouterSetup, *, reveal: bool = False) -> list[str]:
    """Return the lines of the script; `reveal` puts the secrets in."""
    parts = [
        [f"# Router {_remark(setup.router)}, for the RADIUS server {setup.server}", *FIRST_LINES],
        _radius(setup, reveal=reveal),
        _incoming(setup),
        _sessions(setup),
        _clock(),
        [] if setup.api is None else _api(setup, setup.api, reveal=reveal),
        _firewall(setup),
        _fast_track(),
    ]
    lines: list[str] = []
    for part in parts:
        lines += ["", *part] if lines and part else part
    return lines


def quoted(text: str) -> str:
    """Return `text` as RouterOS's console reads it back: no character of it has a meaning there."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\$?':
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{octet:02X}" for octet in character.encode("utf-8", "surrogateescape"))


def _remark(text: str) -> str:
    return " ".join(text.split())


def _secret(secret: Secret, placeholder: str, *, reveal: bool) -> str:
    return quoted(secret.reveal().decode("utf-8", "surrogateescape")) if reveal else f'"{placeholder}"'


def _secret_remark(*, reveal: bool) -> str:
    return (
        "# SECRET in the next line: keep it out of files and chats"
        if reveal
        else "# SECRET missing in the next line: put it in, or have it printed with --secrets"
    )


def _radius(setup: RouterSetup, *, reveal: bool) -> list[str]:
    secret = _secret(setup.secret, "RADIUS-SECRET", reveal=reveal)
    return [
        "# RADIUS client",
        f'/radius remove [find comment="{MARK}"]',
        _secret_remark(reveal=reveal),
        (
            f"/radius add service=ppp,hotspot,dhcp address={setup.server} secret={secret} "
            f"authentication-port={setup.authentication_port} accounting-port={setup.accounting_port} "
            f'timeout={RADIUS_TIMEOUT} comment="{MARK}"'
        ),
        "# answers that are not signed are refused (7.15 and later)",
        f':do {{ /radius set [find comment="{MARK}"] require-message-auth=yes-for-request-resp }} on-error={{}}',
    ]


def _incoming(setup: RouterSetup) -> list[str]:
    return [
        "# CoA and Disconnect; by default the router takes none",
        f"/radius incoming set accept=yes port={setup.coa_port}",
    ]


def _sessions(setup: RouterSetup) -> list[str]:
    interim = f"{setup.interim_seconds}s"
    return [
        "# Accounting; by default there are no interim updates",
        f"/ppp aaa set use-radius=yes accounting=yes interim-update={interim}",
        (
            ":do { /ip hotspot profile set [find] use-radius=yes radius-accounting=yes radius-interim-update=received }"
            " on-error={}"
        ),
        ":do { /ip dhcp-server set [find] use-radius=yes } on-error={}",
        f":do {{ /ip dhcp-server config set accounting=yes interim-update={interim} }} on-error={{}}",
    ]


def _clock() -> list[str]:
    return [
        "# A clock that is right: usage belongs to the hour in which it was",
        ":do { /system ntp client set enabled=yes } on-error={}",
    ]


def _api(setup: RouterSetup, api: ApiUser, *, reveal: bool) -> list[str]:
    password = _secret(api.password, "API-PASSWORD", reveal=reveal)
    name = quoted(api.name)
    lines = [
        "# API: a user who may read and write and nothing else, from our address alone",
        f'/user remove [find name={name} comment="{MARK}"]',
        f':do {{ /user group add name="{MARK}" }} on-error={{}}',
        f'/user group set [find name="{MARK}"] policy={_API_POLICY}',
        _secret_remark(reveal=reveal),
        f'/user add name={name} group="{MARK}" address={_host(setup.server)} password={password} comment="{MARK}"',
    ]
    return lines + (_tls(setup, api) if api.tls else _plain(setup, api))


def _tls(setup: RouterSetup, api: ApiUser) -> list[str]:
    return [
        "# without a certificate api-ssl offers ciphers that prove nothing, and we refuse them",
        f':if ([:len [/certificate find name="{MARK}"]] = 0) do={{',
        (
            f'  /certificate add name="{MARK}" common-name={quoted(setup.router)} days-valid={CERTIFICATE_DAYS} '
            "key-size=2048 key-usage=digital-signature,key-encipherment,tls-server,key-cert-sign"
        ),
        f'  /certificate sign "{MARK}"',
        "}",
        f'/ip service set api-ssl certificate="{MARK}" port={api.port} address={_host(setup.server)} disabled=no',
        "/ip service set api disabled=yes",
        "# the fingerprint that belongs into our configuration (api_fingerprint):",
        f':put [/certificate get [find name="{MARK}"] fingerprint]',
    ]


def _plain(setup: RouterSetup, api: ApiUser) -> list[str]:
    return [
        "# WARNING: without TLS whoever listens on the way reads the password",
        f"/ip service set api port={api.port} address={_host(setup.server)} disabled=no",
    ]


def _host(address: str) -> str:
    return f"{address}/128" if ":" in address else f"{address}/32"


def _firewall(setup: RouterSetup) -> list[str]:
    """Refuse with an ICMP message: a browser then gives up in 7 ms, not after 91 s as with drop."""
    lines = [
        "# Lines that may not be used: refused at once, with a message, instead of a wait",
        f'/ip firewall filter remove [find comment="{MARK}"]',
        f'/ip firewall nat remove [find comment="{MARK}"]',
        f'/ip firewall address-list remove [find comment="{MARK}" list="{MARK}-portal"]',
    ]
    if setup.walled_list is not None:
        lines += _walled_garden(setup, quoted(setup.walled_list))
    lines += [
        _rule("filter", f"chain={WALLED_CHAIN} src-address-list={BLOCKED_LIST} {_REJECT}"),
        "# the rules must stand above every accept and above FastTrack",
        _first(_rule("filter", _JUMP)),
    ]
    return lines + _firewall6(setup)


def _firewall6(setup: RouterSetup) -> list[str]:
    """A line that is refused over IPv4 alone is not refused."""
    lists = [BLOCKED_LIST] if setup.walled_list is None else [BLOCKED_LIST, quoted(setup.walled_list)]
    commands = [f'/ipv6 firewall filter remove [find comment="{MARK}"]']
    commands += [f"{_RULE_6} chain={WALLED_CHAIN} src-address-list={each} {_REJECT}" for each in lists]
    commands.append(_first(f"{_RULE_6} {_JUMP}"))
    return ["# the same for IPv6, where the router has it", *(f":do {{ {each} }} on-error={{}}" for each in commands)]


_RULE_6 = f'/ipv6 firewall filter add comment="{MARK}"'
_REJECT = "action=reject reject-with=icmp-admin-prohibited"
_JUMP = f"chain=forward action=jump jump-target={WALLED_CHAIN}"


def _first(rule: str) -> str:
    """Return what adds a rule above all others; there is no place before the first where there are none."""
    return f":do {{ {rule} place-before=0 }} on-error={{ {rule} }}"


def _rule(table: str, words: str) -> str:
    return f'/ip firewall {table} add {words} comment="{MARK}"'


def _walled_garden(setup: RouterSetup, walled: str) -> list[str]:
    source = f"chain={WALLED_CHAIN} src-address-list={walled}"
    lines = ["# Walled garden: names are resolved and the portal is reached, all else is refused"]
    lines += [_rule("filter", f"{source} protocol={each} dst-port=53 action=accept") for each in ("udp", "tcp")]
    if setup.portal is not None:
        lines += [
            f'/ip firewall address-list add list="{MARK}-portal" address={setup.portal} comment="{MARK}"',
            _rule("filter", f'{source} dst-address-list="{MARK}-portal" action=accept'),
            _rule(
                "nat",
                f'chain=dstnat src-address-list={walled} protocol=tcp dst-port=80 dst-address-list="!{MARK}-portal" '
                f"action=dst-nat to-addresses={setup.portal}",
            ),
        ]
    return [*lines, _rule("filter", f"{source} {_REJECT}")]


def _fast_track() -> list[str]:
    warning = "WARNING: FastTrack is on: traffic that it takes passes no queue and is not slowed. Switch it off, or "
    return [
        "# FastTracked traffic skips every queue",
        ":if ([:len [/ip firewall filter find action=fasttrack-connection disabled=no]] > 0) do={",
        f"  :put {quoted(warning + 'keep the addresses of subscribers out of it.')}",
        "}",
    ]
