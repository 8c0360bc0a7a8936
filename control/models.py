"""The answers of the control API, as its clients see them.

Rule: names carry their unit; instants are RFC 3339 in UTC; octets and rates are exact integers; up and down are the
subscriber's; no answer holds a secret unless the question said `secrets=true`.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item", bound=BaseModel)

Octets = Annotated[int, Field(ge=0, description="Octets.")]


class Answer(BaseModel):
    """What every answer is: read from plain rows, never changed."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Listing(Answer, Generic[Item]):
    """One page of a listing."""

    items: list[Item]
    next: str | None = Field(description="Give this as `after` for the next page; null at the end.")


class Problem(Answer):
    """One mistake in a document."""

    line: int | None = Field(None, description="Line of the document, from 1.")
    message: str


class Refusal(Answer):
    """Why a request was refused."""

    code: str = Field(description="A word from a closed set, for programs.")
    message: str = Field(description="One sentence: what is wrong.")
    hint: str | None = Field(None, description="What to do.")
    problems: list[Problem] = Field([], description="Every mistake, where there may be several.")


class ErrorAnswer(Answer):
    """The one shape of every error."""

    error: Refusal


class Listener(Answer):
    """An address on which the daemon listens."""

    purpose: str = Field(description="What is served there, such as `authentication`, `accounting`, `metrics`.")
    address: str
    port: int | None = Field(None, description="Null where the address is a path.")


class Worker(Answer):
    """A RADIUS worker process."""

    number: int
    pid: int | None
    state: str = Field(description="`running`, `starting` or `away`.")


class Status(Answer):
    """How the daemon is."""

    version: str
    started_at: datetime
    uptime_seconds: int
    database: str = Field(description="`ready`, or in a few words why not.")
    listeners: list[Listener]
    workers: list[Worker]
    open_sessions: int | None = Field(description="Null while the database is away.")


class RouterApi(Answer):
    """A router's management access; its password is never shown."""

    user: str
    port: int | None
    tls: bool | None


class Router(Answer):
    """A router or another NAS."""

    name: str
    address: str = Field(description="Address, or network in CIDR notation.")
    identifier: str | None = Field(description="NAS-Identifier that tells routers of one address apart.")
    profile: str
    coa_port: int | None = Field(description="Null: the profile's own.")
    require_message_authenticator: str
    flip_counters: bool
    api: RouterApi | None
    open_sessions: int


class RouterDetail(Router):
    """A router and what it is asked to do."""

    coa_per_second: int | None = Field(description="CoA and Disconnect; null: the product's own limit.")
    repair_drift: bool = Field(description="Whether entries changed by hand are set right; else they are shown.")
    api_accounting: bool
    queues: str = Field(description="What it is given for static services: none, simple or pcq.")
    api_fingerprint: str | None = Field(description="SHA-256 of the only certificate of its API that is trusted.")


class Pool(Answer):
    """A pool of addresses or prefixes."""

    name: str
    kind: str
    first_address: str
    last_address: str
    prefix_length: int
    routers: list[str] = Field(description="Empty: every router.")
    lease_seconds: int | None
    size: int = Field(description="How many addresses or prefixes it can hand out.")
    leased: int = Field(description="How many are leased now.")
    static: int = Field(description="How many services have an address of their own inside; it is never handed out.")


class Plan(Answer):
    """What a service gets."""

    name: str
    kind: str
    download_bits_per_second: int | None
    upload_bits_per_second: int | None
    pool: str | None
    ipv6_pool: str | None
    delegated_pool: str | None
    session_timeout_seconds: int | None
    idle_timeout_seconds: int | None
    interim_seconds: int
    simultaneous: int | None
    services: int


class PlanDetail(Plan):
    """A plan and its rules."""

    rules: dict[str, object] = Field(description="In the words of `[[plan]]` of an ISP file.")


class Customer(Answer):
    """A customer."""

    login: str
    name: str
    email: str | None
    phone: str | None
    services: int
    state: str = Field(description="new, active, blocked or inactive.")
    category: str | None
    partner: str
    payer: str | None = Field(description="Who pays for it; null: itself.")
    details: dict[str, str] = Field(description="In the words of `[[customer]]` of an ISP file.")


class Service(Answer):
    """A subscriber's line; its password is never shown."""

    id: int
    login: str
    plan: str
    customer: str | None
    address: str | None = Field(description="Its own fixed address.")
    macs: list[str] = Field(description="Empty: any.")
    routers: list[str] = Field(description="Empty: any.")
    simultaneous: int | None = Field(description="Null: the plan's limit.")
    enabled: bool
    expires_at: datetime | None
    attributes: list[tuple[str, str]] = Field(description="Reply attributes of its own, in order.")
    open_sessions: int
    state: str | None = Field(description="Of its sale today: pending, active, paused, stopped; null: it is not sold.")


class ServiceDetail(Service):
    """A service, the state of its account, and the rules of its plan."""

    period_day: int = Field(description="Its own day of the month, on which usage begins again.")
    account_state: str = Field(description="active, blocked or no_balance: what an operator ordered.")
    rules: dict[str, object] = Field(description="In the words of `[[plan]]` of an ISP file.")


class SessionState(Enum):
    """How a session stands."""

    OPEN = "open"
    STOPPED = "stopped"
    PROVISIONAL = "provisional"
    """Closed because it was silent; a late packet opens it again."""


class Ipv6Attribute(Answer):
    """An IPv6 address or prefix that the router told."""

    attribute: str = Field(description="The RADIUS attribute, such as `Delegated-IPv6-Prefix`.")
    value: str


class Session(Answer):
    """One session of a line."""

    id: int
    state: SessionState
    login: str
    service_id: int | None = Field(description="Null: the login belongs to no service.")
    router: str | None = Field(description="Null: the router is no longer provisioned.")
    nas: str = Field(description="The box behind a router entry that is a network; else empty.")
    acct_session_id: str
    multi_session_id: str | None
    nas_port_id: str | None
    address: str | None
    ipv6: list[Ipv6Attribute]
    mac: str | None
    started_at: datetime
    updated_at: datetime = Field(description="Instant up to which its counters are known.")
    heard_at: datetime = Field(description="Arrival of its newest packet.")
    stopped_at: datetime | None
    terminate_cause: str | None
    seconds: int
    octets_up: Octets
    octets_down: Octets


class EarlierAddress(Answer):
    """An address that a session had before its present one."""

    address: str
    until: datetime


class SessionDetail(Session):
    """A session and its history."""

    earlier_addresses: list[EarlierAddress]


class WatchKind(Enum):
    """What a line of the watch stream is."""

    SNAPSHOT = "snapshot"
    CHANGES = "changes"


class WatchEvent(Answer):
    """One line of the watch stream: first the open sessions heard last, then those that changed."""

    event: WatchKind
    at: datetime
    open_sessions: int
    sessions: list[Session] = Field(description="The newest activity first.")


class UsageStep(Enum):
    """The length of a row of usage."""

    HOUR = "hour"
    DAY = "day"


class UsageRow(Answer):
    """Usage of one hour or one local day."""

    start: datetime
    octets_up: Octets
    octets_down: Octets


class Usage(Answer):
    """What a service used in the whole hours or days that a time touches; the rows sum to the totals."""

    service: str
    by: UsageStep
    timezone: str = Field(description="The zone in which days begin.")
    start: datetime
    end: datetime
    octets_up: Octets
    octets_down: Octets
    rows: list[UsageRow] = Field(description="Hours and days without traffic have none.")


class RefusedLogin(Answer):
    """A login that was refused; equal ones within a minute are one."""

    id: int
    login: str
    reason: str
    method: str
    router: str | None
    mac: str | None
    attempts: int
    refused_at: datetime


class QuarantinedRecord(Answer):
    """An accounting record that could not be booked."""

    id: int
    received_at: datetime
    router: str | None
    reason: str
    octets: Octets
    datagram: str = Field(description="The whole packet, in hexadecimal.")


class Change(Answer):
    """One object that was written, or would be."""

    kind: str
    name: str
    action: str = Field(description="`created` or `updated`.")
    keys: list[str] = Field(description="The keys of the file that differ; empty for a new object.")


class ApplyReport(Answer):
    """What an ISP file changed, or would change."""

    dry_run: bool
    changes: list[Change]
    unchanged: dict[str, int] = Field(description="Objects by kind that are already as the file has them.")
    warnings: list[Problem] = Field(description="What is legal but unwise.")


class ImportProgress(Answer):
    """A line of the import's answer: how far it is."""

    event: Literal["progress"] = "progress"
    rows: int


class ImportReport(Answer):
    """The last line of the import's answer."""

    event: Literal["report"] = "report"
    created: int
    updated: int
    unchanged: int


class AppliedRule(Answer):
    """One rule that led to what a line may do; the last one that says something of a thing decides."""

    rule: str
    name: str
    numbers: dict[str, int | str]
    text: str = Field(description="The sentence, in the language that was asked for.")


class BurstRates(Answer):
    """What a line may do for a moment."""

    download_bits_per_second: int | None
    upload_bits_per_second: int | None
    seconds: int | None


class Verdict(Answer):
    """What a line may do; null rates are unlimited."""

    service: str
    admitted: bool
    refusal: str | None = Field(description="Why it is not let in, or only into the walled garden.")
    walled: bool
    download_bits_per_second: int | None
    upload_bits_per_second: int | None


class Line(Answer):
    """What an open session should get, and whether its router is proven to give it."""

    session_id: int
    login: str
    router: str | None
    is_proven: bool
    proven_by: str | None = Field(description="`login`, `coa`, `read_back`, `api` or `disconnect`.")
    proven_at: datetime | None
    desired_since: datetime
    problem: str | None = Field(description="Why it is not proven; null while the first attempt is under way.")
    attempts: int
    next_attempt_at: datetime | None
    overshoot_octets: int | None = Field(description="Octets beyond the cap when the change was proven.")


class Explanation(Verdict):
    """What a line may do now, why, and what would change it."""

    plan: str
    sale: str | None = Field(description="Its sale today: pending, active, paused, stopped; null: it is not sold.")
    at: datetime
    timezone: str
    burst: BurstRates | None
    guaranteed_download_bits_per_second: int | None
    guaranteed_upload_bits_per_second: int | None
    priority: int | None
    address_list: str | None
    octets_left: int | None = Field(description="Octets until usage changes something; null when nothing would.")
    left_direction: str
    valid_until: datetime | None = Field(description="When time changes something; null when nothing would.")
    overage_octets: Octets
    warnings: list[int] = Field(description="Percentages of the cap that were reached and are warned of.")
    ceiling_warnings: list[int] = Field(description="The same of the most that overage of a period costs.")
    rules: list[AppliedRule]
    prospects: list[str] = Field(description="What would change it, nearest first, as sentences.")
    sessions: list[Line]


class TopUp(Answer):
    """A top-up that was bought."""

    id: int
    service: str
    name: str
    kind: str
    octets: int
    octets_left: int
    bought_at: datetime
    ends_at: datetime | None = Field(description="None: it does not end by itself.")
    origin: str
    price: str = Field(description="What it cost, decimal text in the currency of the account.")
    charge: str = Field(description="`none`, `balance`, `invoice` or `voucher`.")


class TopUpOrder(BaseModel):
    """An order of a top-up; `key` makes it one purchase however often it is sent."""

    offer: str = Field(min_length=1, max_length=100)
    key: str = Field(min_length=1, max_length=100)
    charge: Literal["balance", "invoice", "none"] | None = Field(
        None, description="How it is paid; by default at once by who pays before, else with the next invoice."
    )


class AccountOrder(BaseModel):
    """Whether the account behind a service may be served."""

    state: Literal["active", "blocked", "no_balance"]


class OverrideOrder(BaseModel):
    """An operator's temporary rates for a line: a share of the plan's, or rates."""

    download_bits_per_second: int | None = Field(None, gt=0)
    upload_bits_per_second: int | None = Field(None, gt=0)
    percent: int | None = Field(None, ge=1, le=1000)
    hours: float | None = Field(None, gt=0, le=24 * 366)
    operator: str = Field(min_length=1, max_length=100)
    reason: str = Field(min_length=1, max_length=500)
